//! A library's source without what nobody outside sees of it.
//!
//! Most of the standard library's tokens stand in bodies of functions and in examples, and each of its
//! integer types has them once more, by macros. rust-analyzer would read them all before its first
//! answer, and needs none of them. They become spaces, so that every other byte stays at its place.

use std::ops::Range;

use ra_ap_parser::{Edition, LexedStr, SyntaxKind, T};

/// Attributes that say nothing about what can be written in a cell.
const ATTRIBUTES: [&str; 8] = [
    "inline",
    "must_use",
    "rustc_allow_const_fn_unstable",
    "rustc_const_stable",
    "rustc_const_unstable",
    "rustc_inherit_overflow_checks",
    "stable",
    "track_caller",
];

/// The text with spaces for the bodies of its functions, for some attributes and for the examples in
/// the documentation of what macros make, byte for byte.
///
/// A body is kept where a constant may need it, in a `const fn` that no macro makes. An attribute is
/// kept in the arguments of a macro, which may want to see one there.
pub fn outline(text: &str) -> String {
    // Whole tokens are replaced, so this is UTF-8 still.
    blanked(text, &blanks(text)).unwrap_or_else(|| text.to_owned())
}

/// The text with spaces in these places; none where they are not this text's.
pub fn blanked(text: &str, blanks: &[Range<usize>]) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    for blank in blanks {
        bytes.get_mut(blank.clone())?.fill(b' ');
    }
    String::from_utf8(bytes).ok()
}

/// Where an outline has spaces.
pub fn blanks(text: &str) -> Vec<Range<usize>> {
    let lexed = LexedStr::new(Edition::CURRENT, text);
    let tokens = Tokens::of(text, &lexed);
    let mut blank: Vec<Range<usize>> = vec![];
    // The ends of the macro that is being defined and of the macro call around a token.
    let (mut defined, mut called) = (0, 0);
    let mut macros: Vec<Range<usize>> = vec![];
    let mut at = 0;
    while at < tokens.kinds.len() {
        let mut next = at + 1;
        match tokens.kinds[at] {
            T![ident] if tokens.kind(at + 1) == T![!] => {
                let named = tokens.text(at) == "macro_rules" && tokens.kind(at + 2) == T![ident];
                let open = if named { at + 3 } else { at + 2 };
                let end = tokens.end(open).unwrap_or(0);
                if named && end > defined {
                    defined = end;
                    macros.push(tokens.starts[at]..tokens.starts[end - 1]);
                } else if !named {
                    called = called.max(end);
                }
            }
            T![macro] => {
                if let Some(body) = tokens.body(at + 1).filter(|body| body.end > defined) {
                    defined = body.end;
                    macros.push(tokens.starts[at]..tokens.starts[body.end - 1]);
                }
            }
            T![#] if at >= called && tokens.kind(at + 1) == T!['['] => {
                let said = ATTRIBUTES.contains(&tokens.text(at + 2));
                if let Some(end) = tokens.end(at + 1).filter(|_| said) {
                    blank.push(tokens.starts[at]..tokens.starts[end - 1] + 1);
                    next = end;
                }
            }
            T![fn] if matches!(tokens.kind(at + 1), T![ident] | T![$]) => {
                let kept = at >= defined && tokens.is_const(at);
                if let Some(body) = tokens.body(at + 1).filter(|_| !kept) {
                    blank.push(tokens.starts[body.start + 1]..tokens.starts[body.end - 1]);
                    next = body.end;
                }
            }
            _ => {}
        }
        at = next;
    }
    examples(&lexed, &macros, &mut blank);
    blank
}

/// Finds the examples in the documentation that macros give to what they make: lines of comments and
/// `#[doc = ..]` from a heading that says so to the next one.
fn examples(lexed: &LexedStr<'_>, macros: &[Range<usize>], blank: &mut Vec<Range<usize>>) {
    let mut inside = false;
    let mut macros = macros.iter().peekable();
    let mut at = 0;
    while at < lexed.len() {
        let start = lexed.text_start(at);
        while macros.next_if(|range| range.end <= start).is_some() {}
        let mut next = at + 1;
        match lexed.kind(at) {
            _ if macros.peek().is_none_or(|range| !range.contains(&start)) => inside = false,
            SyntaxKind::WHITESPACE => {}
            SyntaxKind::COMMENT => {
                let line = lexed.text(at).strip_prefix("///").map(str::trim_start);
                if let Some(heading) = line.and_then(|line| line.strip_prefix("# ")) {
                    inside = heading.starts_with("Example");
                }
                if inside && line.is_some() {
                    blank.push(start..start + lexed.text_len(at));
                }
            }
            T![#] if inside && lexed.text(at + 1) == "[" && lexed.text(at + 2) == "doc" => {
                let mut depth = 0_usize;
                while next < lexed.len() {
                    match lexed.kind(next) {
                        T!['['] => depth += 1,
                        T![']'] => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    next += 1;
                    if depth == 0 {
                        break;
                    }
                }
                blank.push(start..lexed.text_start(next));
            }
            _ => inside = false,
        }
        at = next;
    }
}

/// The tokens without spaces and comments, and where they begin.
struct Tokens<'a> {
    text: &'a str,
    kinds: Vec<SyntaxKind>,
    /// One more than there are tokens: the last is the end of the text.
    starts: Vec<usize>,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str, lexed: &LexedStr<'_>) -> Self {
        let (mut kinds, mut starts) = (vec![], vec![]);
        for token in 0..lexed.len() {
            if !lexed.kind(token).is_trivia() {
                kinds.push(lexed.kind(token));
                starts.push(lexed.text_start(token));
            }
        }
        starts.push(text.len());
        Self { text, kinds, starts }
    }

    fn kind(&self, at: usize) -> SyntaxKind {
        self.kinds.get(at).copied().unwrap_or(SyntaxKind::EOF)
    }

    /// An identifier or a keyword.
    fn text(&self, at: usize) -> &'a str {
        let rest = self.starts.get(at).and_then(|start| self.text.get(*start..)).unwrap_or("");
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
    }

    /// Behind the bracket that closes the one at `open`.
    fn end(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for at in open..self.kinds.len() {
            match self.kinds[at] {
                T!['('] | T!['['] | T!['{'] => depth += 1,
                T![')'] | T![']'] | T!['}'] => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                return (at > open).then_some(at + 1);
            }
        }
        None
    }

    /// From the bracket that opens the next body to behind the one that closes it; none where a
    /// semicolon or the end of what is around comes first.
    fn body(&self, from: usize) -> Option<Range<usize>> {
        let mut at = from;
        loop {
            match self.kind(at) {
                // A name that a macro makes: `fn ${concat(a, b)}() {}`.
                T![$] if self.kind(at + 1) == T!['{'] => at = self.end(at + 1)?,
                T!['{'] => return Some(at..self.end(at)?),
                T!['('] | T!['['] => at = self.end(at)?,
                T![;] | T![')'] | T![']'] | T!['}'] | SyntaxKind::EOF => return None,
                _ => at += 1,
            }
        }
    }

    /// Whether `const` stands before this `fn`.
    fn is_const(&self, at: usize) -> bool {
        let before = self.kinds[..at].iter().rev();
        let mut before = before.skip_while(|kind| {
            matches!(kind, T![unsafe] | T![async] | T![extern] | SyntaxKind::STRING)
        });
        before.next() == Some(&T![const])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outline with what became spaces as one.
    fn of(text: &str) -> String {
        let outline = outline(text);
        assert_eq!(outline.len(), text.len(), "{text}");
        outline.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn bodies_are_left_out_and_signatures_kept() {
        for (text, expected) in [
            (
                "pub fn f(x: [u8; { 1 + 1 }]) -> u8 { x[0] }",
                "pub fn f(x: [u8; { 1 + 1 }]) -> u8 { }",
            ),
            ("trait T { fn a(&self); fn b() { '}' } }", "trait T { fn a(&self); fn b() { } }"),
            ("fn é() { \"é}\" /* } */ }\nstruct S;", "fn é() { } struct S;"),
            (
                "type F = fn(u8) -> u8; const C: u8 = { 1 };",
                "type F = fn(u8) -> u8; const C: u8 = { 1 };",
            ),
            ("const fn c() -> u8 { 1 }", "const fn c() -> u8 { 1 }"),
            ("const unsafe extern \"C\" fn c() { 1 }", "const unsafe extern \"C\" fn c() { 1 }"),
            ("const C: u8 = 1; fn f() { 1 }", "const C: u8 = 1; fn f() { }"),
            ("fn unclosed() { 1", "fn unclosed() { 1"),
            ("fn", "fn"),
        ] {
            assert_eq!(of(text), expected);
        }
    }

    #[test]
    fn a_macros_functions_are_functions() {
        for (text, expected) in [
            (
                "macro_rules! m { ($n:ident) => { pub const fn $n(self) -> u8 { 1 } } }",
                "macro_rules! m { ($n:ident) => { pub const fn $n(self) -> u8 { } } }",
            ),
            (
                "pub macro m($x:tt) { const fn f() { 1 } }",
                "pub macro m($x:tt) { const fn f() { } }",
            ),
            ("m! { fn f() { 1 } } const fn g() { 1 }", "m! { fn f() { } } const fn g() { 1 }"),
        ] {
            assert_eq!(of(text), expected);
        }
    }

    #[test]
    fn what_macros_make_is_documented_without_examples() {
        let docs = "/// Counts.\n/// # Examples\n/// ```\n#[doc = concat!(\"]\", $a[0])]\n/// ```\n\
                    #[inline]\n/// # Panics\n/// Never.\nfn f() { 1 }";
        assert_eq!(of(docs), docs.replace("#[inline]\n", "").replace(" 1", "").replace('\n', " "));
        let made = format!("macro_rules! m {{ () => {{ {docs} }} }} /// # Examples\nfn g();");
        assert_eq!(
            of(&made),
            "macro_rules! m { () => { /// Counts. /// # Panics /// Never. fn f() { } } } \
             /// # Examples fn g();"
        );
    }

    #[test]
    fn attributes_that_matter_stay() {
        for (text, expected) in [
            ("#[inline]\n#[stable(feature = \"a\", since = \"1\")]\nfn f();", "fn f();"),
            ("#[unstable(feature = \"a\")] fn f();", "#[unstable(feature = \"a\")] fn f();"),
            ("#[cfg(unix)] #[must_use = \"]\"] fn f();", "#[cfg(unix)] fn f();"),
            ("m! { #[stable] Self = u8 } #[stable] fn f();", "m! { #[stable] Self = u8 } fn f();"),
            ("/// #[inline]\nfn f();", "/// #[inline] fn f();"),
        ] {
            assert_eq!(of(text), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_text_its_bytes_keep_their_places(text in "(fn |const |m!|macro_rules! m |/// # Example\n|#\\[doc|\\{|\\}|\\(|\\)|#\\[inline\\]|é|\"|'|;|x|\n){0,40}") {
            let outline = outline(&text);
            proptest::prop_assert_eq!(outline.len(), text.len());
            let places = outline.char_indices().filter(|(_, c)| *c != ' ');
            for (at, c) in places {
                proptest::prop_assert!(text[at..].starts_with(c));
            }
        }
    }
}
