//! A library's source without what other crates cannot see.
//!
//! Most tokens of the standard library are in function bodies and examples, and macros repeat them
//! for each integer type. rust-analyzer would read them all before its first answer, and needs none
//! of them. They are replaced by spaces, so every other byte stays in place.

use std::ops::Range;

use ra_ap_parser::{Edition, LexedStr, SyntaxKind, T};

/// Attributes without meaning for completion and inspection.
const BLANKED_ATTRIBUTES: &str = "inline must_use rustc_allow_const_fn_unstable \
    rustc_const_stable rustc_const_unstable rustc_inherit_overflow_checks stable track_caller";

/// The text with spaces for function bodies, for some attributes, and for examples in documentation
/// that macros generate.
///
/// The body of a `const fn` stays, because a constant may need it, unless a macro generates it. An
/// attribute stays in the arguments of a macro, which may match it.
pub fn outline(text: &str) -> String {
    with_blanks(text, &blank_ranges(text)).unwrap_or_else(|| text.to_owned())
}

/// The text with spaces in these ranges; `None` if they do not fit the text.
pub fn with_blanks(text: &str, blanks: &[Range<usize>]) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    for blank in blanks {
        bytes.get_mut(blank.clone())?.fill(b' ');
    }
    String::from_utf8(bytes).ok()
}

/// Where the outline has spaces.
pub fn blank_ranges(text: &str) -> Vec<Range<usize>> {
    let lexed = LexedStr::new(Edition::CURRENT, text);
    let tokens = Tokens::of(text, &lexed);
    let mut blanks: Vec<Range<usize>> = vec![];
    // The ends of the macro definition and of the macro call around the token.
    let (mut definition_end, mut call_end) = (0, 0);
    let mut macros: Vec<Range<usize>> = vec![];
    let mut at = 0;
    while at < tokens.kinds.len() {
        let mut next = at + 1;
        match tokens.kinds[at] {
            T![ident] if tokens.kind(at + 1) == T![!] => {
                let defines = tokens.text(at) == "macro_rules" && tokens.kind(at + 2) == T![ident];
                let open = if defines { at + 3 } else { at + 2 };
                let end = tokens.end(open).unwrap_or(0);
                if defines && end > definition_end {
                    definition_end = end;
                    macros.push(tokens.starts[at]..tokens.starts[end - 1]);
                } else if !defines {
                    call_end = call_end.max(end);
                }
            }
            T![macro] => {
                if let Some(body) = tokens.body(at + 1).filter(|body| body.end > definition_end) {
                    definition_end = body.end;
                    macros.push(tokens.starts[at]..tokens.starts[body.end - 1]);
                }
            }
            T![#] if at >= call_end && tokens.kind(at + 1) == T!['['] => {
                let name = tokens.text(at + 2);
                let blanked = BLANKED_ATTRIBUTES.split(' ').any(|one| one == name);
                if let Some(end) = tokens.end(at + 1).filter(|_| blanked) {
                    blanks.push(tokens.starts[at]..tokens.starts[end - 1] + 1);
                    next = end;
                }
            }
            T![fn] if matches!(tokens.kind(at + 1), T![ident] | T![$]) => {
                let stays = at >= definition_end && tokens.is_const(at);
                if let Some(body) = tokens.body(at + 1).filter(|_| !stays) {
                    blanks.push(tokens.starts[body.start + 1]..tokens.starts[body.end - 1]);
                    next = body.end;
                }
            }
            _ => {}
        }
        at = next;
    }
    add_examples(&lexed, &macros, &mut blanks);
    blanks
}

/// Adds the examples in documentation inside macro definitions: comments and `#[doc = ..]` after a
/// heading `Example..`, up to the next heading.
fn add_examples(lexed: &LexedStr<'_>, macros: &[Range<usize>], blanks: &mut Vec<Range<usize>>) {
    let mut in_example = false;
    let mut macros = macros.iter().peekable();
    let mut at = 0;
    while at < lexed.len() {
        let start = lexed.text_start(at);
        while macros.next_if(|range| range.end <= start).is_some() {}
        let mut next = at + 1;
        match lexed.kind(at) {
            _ if macros.peek().is_none_or(|range| !range.contains(&start)) => in_example = false,
            SyntaxKind::WHITESPACE => {}
            SyntaxKind::COMMENT => {
                let line = lexed.text(at).strip_prefix("///").map(str::trim_start);
                if let Some(heading) = line.and_then(|line| line.strip_prefix("# ")) {
                    in_example = heading.starts_with("Example");
                }
                if in_example && line.is_some() {
                    blanks.push(start..start + lexed.text_len(at));
                }
            }
            T![#] if in_example && lexed.text(at + 1) == "[" && lexed.text(at + 2) == "doc" => {
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
                blanks.push(start..lexed.text_start(next));
            }
            _ => in_example = false,
        }
        at = next;
    }
}

/// The tokens without spaces and comments.
struct Tokens<'a> {
    text: &'a str,
    kinds: Vec<SyntaxKind>,
    /// The first bytes, and the end of the text.
    starts: Vec<usize>,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str, lexed: &LexedStr<'_>) -> Self {
        let significant = (0..lexed.len()).filter(|&token| !lexed.kind(token).is_trivia());
        let (kinds, mut starts): (_, Vec<usize>) =
            significant.map(|token| (lexed.kind(token), lexed.text_start(token))).unzip();
        starts.push(text.len());
        Self { text, kinds, starts }
    }

    fn kind(&self, at: usize) -> SyntaxKind {
        self.kinds.get(at).copied().unwrap_or(SyntaxKind::EOF)
    }

    /// The text of an identifier or keyword.
    fn text(&self, at: usize) -> &'a str {
        let rest = self.starts.get(at).and_then(|start| self.text.get(*start..)).unwrap_or("");
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
    }

    /// The token after the bracket that closes the one at `open`.
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

    /// The next body with its brackets; `None` if a semicolon or a closing bracket comes first.
    fn body(&self, from: usize) -> Option<Range<usize>> {
        let mut at = from;
        loop {
            match self.kind(at) {
                // A generated name: `fn ${concat(a, b)}() {}`.
                T![$] if self.kind(at + 1) == T!['{'] => at = self.end(at + 1)?,
                T!['{'] => return Some(at..self.end(at)?),
                T!['('] | T!['['] => at = self.end(at)?,
                T![;] | T![')'] | T![']'] | T!['}'] | SyntaxKind::EOF => return None,
                _ => at += 1,
            }
        }
    }

    /// Whether the `fn` at this token is const.
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

    /// The outline with its spaces collapsed.
    fn of(text: &str) -> String {
        let outline = outline(text);
        assert_eq!(outline.len(), text.len(), "{text}");
        outline.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn bodies_are_removed_and_signatures_stay() {
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
    fn functions_in_macros_have_their_bodies_removed() {
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
    fn examples_in_macros_are_removed() {
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
    fn only_some_attributes_are_removed() {
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

    /// Texts of random pieces, from a linear congruential generator.
    #[test]
    fn every_byte_stays_in_place() {
        const PIECES: &str =
            "fn |const |m!|macro_rules! m |/// # Example\n|#[doc|{|}|(|)|#[inline]|é|\"|'|;|x|\n";
        let pieces: Vec<&str> = PIECES.split('|').collect();
        let mut state = 1_u64;
        let mut sample = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        for _ in 0..1000 {
            let length = sample(41);
            let text: String = (0..length).map(|_| pieces[sample(pieces.len())]).collect();
            let outline = outline(&text);
            assert_eq!(outline.len(), text.len(), "{text:?}");
            for (at, c) in outline.char_indices().filter(|(_, c)| *c != ' ') {
                assert!(text[at..].starts_with(c), "{text:?}");
            }
        }
    }
}
