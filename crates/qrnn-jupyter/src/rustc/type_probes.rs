//! The types of a cell's variables, asked of rustc.
//!
//! evcxr keeps a variable by the name of its type, which it takes from rust-analyzer, and that
//! knows no type of the standard library where the component rust-src is missing. So a check of the
//! cell, which costs no more than a tenth of a second, has rustc name them, and they are written
//! into the code that evcxr gets.

use std::collections::HashMap;

use ra_ap_syntax::ast::{self, AstNode, HasName};
use ra_ap_syntax::{Edition, SourceFile, TextRange};

use crate::rustc::wrapper::NAME_TYPE;

/// What the compiler's complaint about a probe begins with.
pub const COMPLAINT: &str = "qrnn-jupyter-type ";

/// The type `!`, in the preloaded library.
const NEVER: &str = "::qrnn_preload::Never";

const OPENING: &str = "fn f(){";

/// A place where a variable's type has to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub name: String,
    /// The name's first byte.
    pub at: usize,
    mutable: bool,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// `let x = ..`: after the pattern, at this byte.
    After(usize),
    /// `let x: Vec<_> = ..`: in the place of these bytes.
    Instead(usize, usize),
    /// `let (a, b) = ..`: after the whole statement, at this byte, as a binding of its own.
    Rebound(usize),
}

/// Text put into a cell's code.
#[derive(Debug, Clone, PartialEq)]
pub struct Insertion {
    /// The first byte that it stands before, or in the place of.
    pub at: usize,
    /// Bytes that it replaces.
    pub replaced: usize,
    pub text: String,
}

/// The variables that the cell's own `let` statements bind without a full type, the last of each
/// name.
pub fn places(code: &str) -> Vec<Place> {
    let parsed = SourceFile::parse(&format!("{OPENING}{code}\n}}"), Edition::Edition2024);
    let file = parsed.tree();
    let body = file.syntax().children().find_map(ast::Fn::cast).and_then(|f| f.body());
    let Some(body) = body.and_then(|body| body.stmt_list()) else { return vec![] };
    let mut found: Vec<Place> = vec![];
    for statement in body.syntax().children().filter_map(ast::LetStmt::cast) {
        let Some(pattern) = statement.pat() else { continue };
        let offset = |range: TextRange| {
            let at = |at| usize::from(at).saturating_sub(OPENING.len()).min(code.len());
            (at(range.start()), at(range.end()))
        };
        let whole = match &pattern {
            ast::Pat::IdentPat(binding) if binding.pat().is_none() => Some(binding.clone()),
            _ => None,
        };
        let names = pattern.syntax().descendants().filter_map(ast::IdentPat::cast);
        for binding in names {
            let Some(name) = binding.name() else { continue };
            let at = offset(name.syntax().text_range()).0;
            let name = name.text().to_string();
            // A constant or a variant looks like a binding.
            if name.starts_with(char::is_uppercase) {
                continue;
            }
            let kind = match (&whole, statement.ty()) {
                // evcxr's code has a variable's type within a line, which `generated.rs` counts on.
                (Some(_), Some(ty)) if is_full(&ty) && !ty.syntax().text().contains_char('\n') => {
                    continue;
                }
                (Some(_), Some(ty)) => {
                    let (start, end) = offset(ty.syntax().text_range());
                    Kind::Instead(start, end)
                }
                (Some(_), None) => Kind::After(offset(pattern.syntax().text_range()).1),
                (None, _) => Kind::Rebound(offset(statement.syntax().text_range()).1),
            };
            found.retain(|place| place.name != name);
            let mutable = binding.mut_token().is_some();
            found.push(Place { name, at, mutable, kind });
        }
    }
    found
}

fn is_full(ty: &ast::Type) -> bool {
    !ty.syntax().descendants().any(|node| ast::InferType::can_cast(node.kind()))
}

/// The cell with probes at its end; lines and columns stay what they were.
pub fn probing(code: &str, places: &[Place]) -> String {
    let mut probing = format!("{code}\n;");
    for place in places {
        probing += &format!("{NAME_TYPE}(&{});\n", place.name);
    }
    probing
}

/// What a complaint says of a variable (which the probe's own line names).
#[derive(Debug, Clone, PartialEq)]
pub enum Named {
    /// Its type as code.
    Type(String),
    /// It has a type that has no name, and how rustc speaks of it.
    Nameless(String),
}

/// The variable that a complaint is about, and what it says.
pub fn named(message: &str, line: &str) -> Option<(String, Named)> {
    let ty = message.strip_prefix(COMPLAINT)?.trim();
    let (_, rest) = line.split_once(NAME_TYPE)?;
    let name = rest.strip_prefix("(&")?.split(')').next()?;
    let ty = writable(ty).map_or_else(|| Named::Nameless(ty.to_owned()), Named::Type);
    Some((name.to_owned(), ty))
}

/// A type as code; none for what has no name.
fn writable(ty: &str) -> Option<String> {
    const NAMELESS: [&str; 6] =
        ["{closure", "{async", "{coroutine", "{gen", "impl ", "{type error}"];
    if NAMELESS.iter().any(|part| ty.contains(part)) {
        return None;
    }
    // What nothing has settled by the cell's end falls back as the language says.
    let ty = ty.replace("{integer}", "i32").replace("{float}", "f64");
    // A function's own type is written after its pointer's: `fn(i32) -> i32 {f}`.
    let ty = if ty.starts_with("fn(") || ty.starts_with("for<") || ty.starts_with("unsafe ") {
        ty.split(" {").next().unwrap_or_default().to_owned()
    } else {
        ty
    };
    (!ty.contains('{')).then(|| without_never(&ty))
}

/// `!` can be written as what a function returns, and nowhere else; elsewhere it has another name. Where
/// rustc says `_` of a cell that compiles, nothing ever settles the type, as in `|| panic!()`: it is
/// `!`, too.
fn without_never(ty: &str) -> String {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut written = String::with_capacity(ty.len());
    for (at, c) in ty.char_indices() {
        let unsettled = c == '_'
            && !ty[..at].ends_with(|c: char| is_name(c) || c == '\'')
            && !ty[at + 1..].starts_with(is_name);
        match c {
            '!' if !written.ends_with("-> ") => written += NEVER,
            '_' if unsettled => written += NEVER,
            _ => written.push(c),
        }
    }
    written
}

/// A type without its places in the code that was compiled, for a message.
pub fn shown(ty: &str) -> String {
    let mut parts = ty.split('@');
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown += part.find('}').map_or(part, |end| &part[end..]);
    }
    shown
}

/// What to put into the code so that each type stands in it, from the front to the back.
pub fn insertions(places: &[Place], types: &HashMap<String, String>) -> Vec<Insertion> {
    let mut all: Vec<Insertion> = places
        .iter()
        .filter_map(|Place { name, mutable, kind, .. }| {
            let ty = types.get(name)?;
            let keyword = if *mutable { "mut " } else { "" };
            Some(match *kind {
                Kind::After(at) => Insertion { at, replaced: 0, text: format!(": {ty}") },
                Kind::Instead(at, end) => Insertion { at, replaced: end - at, text: ty.clone() },
                Kind::Rebound(at) => Insertion {
                    at,
                    replaced: 0,
                    text: format!(" let {keyword}{name}: {ty} = {name};"),
                },
            })
        })
        .collect();
    all.sort_by_key(|insertion| insertion.at);
    all
}

/// The code with the insertions in it.
pub fn inserted(code: &str, insertions: &[Insertion]) -> String {
    let (mut whole, mut done) = (String::new(), 0);
    for insertion in insertions {
        whole += &code[done..insertion.at];
        whole += &insertion.text;
        done = insertion.at + insertion.replaced;
    }
    whole + &code[done..]
}

/// Both sorts of insertions as one list: `second` was put into the code with `first` in it.
pub fn combined(first: &[Insertion], second: Vec<Insertion>) -> Vec<Insertion> {
    let mut shift = 0_isize;
    // By their places in the code with `first` in it; what is put in there comes before the text.
    let mut all: Vec<(usize, bool, Insertion)> = first
        .iter()
        .map(|insertion| {
            let at = insertion.at.saturating_add_signed(shift);
            shift += insertion.text.len() as isize - insertion.replaced as isize;
            (at, true, insertion.clone())
        })
        .collect();
    all.extend(second.into_iter().map(|insertion| {
        let at = original(first, insertion.at);
        (insertion.at, false, Insertion { at, ..insertion })
    }));
    all.sort_by_key(|(at, is_first, _)| (*at, *is_first));
    all.into_iter().map(|(_, _, insertion)| insertion).collect()
}

/// The place in the user's code of a byte in the code with insertions; inside one, its beginning.
pub fn original(insertions: &[Insertion], byte: usize) -> usize {
    let mut shift = 0_isize;
    for insertion in insertions {
        let start = insertion.at.saturating_add_signed(shift);
        if byte < start {
            break;
        }
        if byte < start + insertion.text.len() {
            return insertion.at;
        }
        shift += insertion.text.len() as isize - insertion.replaced as isize;
    }
    byte.saturating_add_signed(-shift)
}

/// Whether a byte in the code with insertions is in one of them.
pub fn is_inserted(insertions: &[Insertion], byte: usize) -> bool {
    let mut shift = 0_isize;
    insertions.iter().any(|insertion| {
        let start = insertion.at.saturating_add_signed(shift);
        shift += insertion.text.len() as isize - insertion.replaced as isize;
        (start..start + insertion.text.len()).contains(&byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &str) -> Vec<String> {
        places(code).into_iter().map(|place| place.name).collect()
    }

    fn written(code: &str, types: &[(&str, &str)]) -> String {
        let types = types.iter().map(|&(name, ty)| (name.into(), ty.into())).collect();
        inserted(code, &insertions(&places(code), &types))
    }

    #[test]
    fn variables_without_a_full_type_are_found() {
        assert_eq!(names("let a = 1; let b: i32 = 2;\nlet mut c: Vec<_> = v; f()"), ["a", "c"]);
        assert_eq!(names("let (x, mut y) = p; let S { z, w: [q, ..] } = s;"), ["x", "y", "z", "q"]);
        assert_eq!(
            names("{ let inner = 1; } fn f() { let x = 1; } let None = o else { return };"),
            [""; 0]
        );
        assert_eq!(names("let x = 1; let x = \"a\";"), ["x"]);
        assert_eq!(names("let x: Vec<\nu8> = v;"), ["x"]);
        assert_eq!(names("this is (not Rust"), [""; 0]);
        assert_eq!(names(""), [""; 0]);
    }

    #[test]
    fn types_are_written_where_they_belong() {
        assert_eq!(written("let a = 1;\na + 1", &[("a", "i32")]), "let a: i32 = 1;\na + 1");
        assert_eq!(
            written("let mut v: Vec<_> = w;", &[("v", "std::vec::Vec<u8>")]),
            "let mut v: std::vec::Vec<u8> = w;"
        );
        assert_eq!(
            written("let (a, mut b) = p; a", &[("a", "u8"), ("b", "u16")]),
            "let (a, mut b) = p; let a: u8 = a; let mut b: u16 = b; a"
        );
        assert_eq!(written("let f = |x: i32| x;", &[]), "let f = |x: i32| x;");
    }

    #[test]
    fn columns_are_led_back() {
        let code = "let é = 1; let (a, b) = p; a.x";
        let types = [("é", "i32"), ("a", "u8")].map(|(a, b)| (a.to_string(), b.to_string()));
        let insertions = insertions(&places(code), &types.into());
        let whole = inserted(code, &insertions);
        for needle in ["= 1", "(a, b)", "a.x"] {
            let (there, here) = (whole.find(needle).unwrap(), code.find(needle).unwrap());
            assert_eq!(original(&insertions, there), here, "{needle}");
        }
        assert_eq!(original(&insertions, whole.find("i32").unwrap()), code.find(" = 1").unwrap());
    }

    #[test]
    fn two_sorts_of_insertions_become_one() {
        let code = "let a = 1; impl T {} let (b, c) = p; end";
        let text = "mod k {} ";
        let first = [
            Insertion { at: 0, replaced: 0, text: "let x: u8; ".into() },
            Insertion { at: 11, replaced: 0, text: text.into() },
        ];
        let prepared = inserted(code, &first);
        let types = ["a", "b", "c"].map(|name| (name.to_owned(), "i32".to_owned()));
        let second = insertions(&places(&prepared), &types.into());
        let whole = inserted(&prepared, &second);
        let both = combined(&first, second);
        assert_eq!(inserted(code, &both), whole);
        for needle in ["= 1", "impl T", "(b, c)", "end"] {
            let (there, here) = (whole.find(needle).unwrap(), code.find(needle).unwrap());
            assert_eq!(original(&both, there), here, "{needle}");
            assert!(!is_inserted(&both, there));
        }
    }

    #[test]
    fn what_was_put_in_is_known() {
        let insertions = [Insertion { at: 4, replaced: 1, text: "abc".into() }];
        let inside: Vec<usize> = (0..10).filter(|&byte| is_inserted(&insertions, byte)).collect();
        assert_eq!(inside, [4, 5, 6]);
    }

    #[test]
    fn complaints_are_understood() {
        let line = "::qrnn_preload::name_type(&corpus);";
        let say = |ty: &str| match named(&format!("qrnn-jupyter-type {ty}"), line) {
            Some((name, Named::Type(ty))) if name == "corpus" => Some(ty),
            _ => None,
        };
        assert_eq!(say("qrnn::corpus::Corpus").unwrap(), "qrnn::corpus::Corpus");
        assert_eq!(say("fn(i32) -> i32 {double}").unwrap(), "fn(i32) -> i32");
        assert_eq!(
            say("(std::vec::Vec<{integer}>, {float})").unwrap(),
            "(std::vec::Vec<i32>, f64)"
        );
        assert_eq!(say("{closure@src/lib.rs:3:9: 3:12}"), None);
        assert_eq!(say("impl std::iter::Iterator<Item = i32>"), None);
        assert_eq!(
            say("std::result::Result<!, fn(u8) -> !>").unwrap(),
            "std::result::Result<::qrnn_preload::Never, fn(u8) -> !>"
        );
        assert_eq!(say("A<'_, _, b_c, _d>").unwrap(), "A<'_, ::qrnn_preload::Never, b_c, _d>");
        assert_eq!(shown("(A<{closure@src/lib.rs:3:9: 3:12}>, u8)"), "(A<{closure}>, u8)");
        assert_eq!(shown("impl Fn()"), "impl Fn()");
        assert_eq!(named("mismatched types", line), None);
        assert_eq!(named("qrnn-jupyter-type i32", "something else"), None);
    }

    #[test]
    fn probes_leave_the_cells_lines_alone() {
        let code = "let a = 1; // one\na";
        let probing = probing(code, &places(code));
        assert!(probing.starts_with(code));
        assert!(probing.ends_with("\n;::qrnn_preload::name_type(&a);\n"), "{probing}");
    }
}
