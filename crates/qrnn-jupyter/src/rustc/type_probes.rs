//! The types of a cell's variables, found out by rustc.
//!
//! evcxr stores a variable with the name of its type, which it asks its rust-analyzer for. That
//! knows no type of the standard library unless rust-src is installed. So a check of the cell has
//! rustc name the types in error messages, and they are written into the code that evcxr gets.

use std::collections::HashMap;

use ra_ap_syntax::TextRange;
use ra_ap_syntax::ast::{self, AstNode, HasName};

use crate::cells::insertions::Insertion;
use crate::cells::statements;

/// A call of this function fails to compile, with the type of its argument in the message.
pub const NAME_TYPE: &str = "::qrnn_preload::name_type";

/// The start of that message.
pub const MESSAGE: &str = "qrnn-jupyter-type ";

/// The type `!` in the preloaded library.
const NEVER: &str = "::qrnn_preload::Never";

/// A variable whose type has to be written into the code.
#[derive(Debug, Clone, PartialEq)]
pub struct Untyped {
    pub name: String,
    /// The first byte of its name.
    pub at: usize,
    mutable: bool,
    site: Site,
}

/// Where the type goes, in bytes of the cell.
#[derive(Debug, Clone, PartialEq)]
enum Site {
    /// `let x = ..`: after the pattern.
    After(usize),
    /// `let x: Vec<_> = ..`: instead of the incomplete type.
    Replace(usize, usize),
    /// `let (a, b) = ..`: in a new `let` after the statement.
    Rebind(usize),
}

/// The variables that the cell's `let` statements bind without a complete type. Of several with the
/// same name, the last.
pub fn untyped_variables(code: &str) -> Vec<Untyped> {
    let mut found: Vec<Untyped> = vec![];
    for statement in statements::of(code) {
        let Some(binding) = ast::LetStmt::cast(statement.node.clone()) else { continue };
        let Some(pattern) = binding.pat() else { continue };
        let bytes = |range: TextRange| statement.bytes(range);
        let is_single = matches!(&pattern, ast::Pat::IdentPat(single) if single.pat().is_none());
        for variable in pattern.syntax().descendants().filter_map(ast::IdentPat::cast) {
            let Some(name) = variable.name() else { continue };
            let at = bytes(name.syntax().text_range()).start;
            let name = name.text().to_string();
            // A constant or a variant looks like a binding.
            if name.starts_with(char::is_uppercase) {
                continue;
            }
            let site = match binding.ty().filter(|_| is_single) {
                // `generated_code` needs the type on one line.
                Some(ty) if is_complete(&ty) && !ty.syntax().text().contains_char('\n') => continue,
                Some(ty) => {
                    let range = bytes(ty.syntax().text_range());
                    Site::Replace(range.start, range.end)
                }
                None if is_single => Site::After(bytes(pattern.syntax().text_range()).end),
                None => Site::Rebind(statement.end),
            };
            found.retain(|other| other.name != name);
            found.push(Untyped { name, at, mutable: variable.mut_token().is_some(), site });
        }
    }
    found
}

fn is_complete(ty: &ast::Type) -> bool {
    !ty.syntax().descendants().any(|node| ast::InferType::can_cast(node.kind()))
}

/// The cell with probes at its end; its own lines do not move.
pub fn with_probes(code: &str, variables: &[Untyped]) -> String {
    let probes = variables.iter().map(|variable| format!("{NAME_TYPE}(&{});\n", variable.name));
    format!("{code}\n;{}", probes.collect::<String>())
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A type as code.
    Type(String),
    /// A type that has no name, in rustc's words.
    Nameless(String),
}

/// The variable and the answer in rustc's message about a probe, which is on `line`.
pub fn parse_answer(message: &str, line: &str) -> Option<(String, Answer)> {
    let ty = message.strip_prefix(MESSAGE)?.trim();
    let (_, rest) = line.split_once(NAME_TYPE)?;
    let name = rest.strip_prefix("(&")?.split(')').next()?;
    let answer = as_code(ty).map_or_else(|| Answer::Nameless(ty.to_owned()), Answer::Type);
    Some((name.to_owned(), answer))
}

/// A type in rustc's words as code.
fn as_code(ty: &str) -> Option<String> {
    const NAMELESS: [&str; 6] =
        ["{closure", "{async", "{coroutine", "{gen", "impl ", "{type error}"];
    if NAMELESS.iter().any(|part| ty.contains(part)) {
        return None;
    }
    // Literals of types that nothing decides have these types.
    let ty = ty.replace("{integer}", "i32").replace("{float}", "f64");
    // rustc writes a function's own type after its pointer type: `fn(i32) -> i32 {f}`.
    let is_function = ["fn(", "for<", "unsafe "].iter().any(|start| ty.starts_with(start));
    let ty = if is_function { ty.split(" {").next().unwrap_or_default() } else { &ty };
    (!ty.contains('{')).then(|| without_never(ty))
}

/// Outside of return types `!` is not allowed and gets another name. In a cell that compiles, `_` in
/// rustc's message is a type that nothing decides, as in `|| panic!()`; it is `!` too.
fn without_never(ty: &str) -> String {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut written = String::with_capacity(ty.len());
    for (at, c) in ty.char_indices() {
        let undecided = c == '_'
            && !ty[..at].ends_with(|c: char| is_name(c) || c == '\'')
            && !ty[at + 1..].starts_with(is_name);
        match c {
            '!' if !written.ends_with("-> ") => written += NEVER,
            '_' if undecided => written += NEVER,
            _ => written.push(c),
        }
    }
    written
}

/// A nameless type for a message: without places in the compiled code.
pub fn without_places(ty: &str) -> String {
    let mut parts = ty.split('@');
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown += part.find('}').map_or(part, |end| &part[end..]);
    }
    shown
}

/// The insertions that write the types into the code, sorted by place.
pub fn insertions(variables: &[Untyped], types: &HashMap<String, String>) -> Vec<Insertion> {
    let insertions = variables.iter().filter_map(|Untyped { name, mutable, site, .. }| {
        let ty = types.get(name)?;
        let keyword = if *mutable { "mut " } else { "" };
        Some(match *site {
            Site::After(at) => Insertion::before(at, format!(": {ty}")),
            Site::Replace(at, end) => Insertion { at, replaced: end - at, text: ty.clone() },
            Site::Rebind(at) => {
                Insertion::before(at, format!(" let {keyword}{name}: {ty} = {name};"))
            }
        })
    });
    let mut all: Vec<Insertion> = insertions.collect();
    all.sort_by_key(|insertion| insertion.at);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::insertions::insert;

    fn names(code: &str) -> Vec<String> {
        untyped_variables(code).into_iter().map(|variable| variable.name).collect()
    }

    fn written(code: &str, types: &[(&str, &str)]) -> String {
        let types = types.iter().map(|&(name, ty)| (name.into(), ty.into())).collect();
        insert(code, &insertions(&untyped_variables(code), &types))
    }

    #[test]
    fn variables_without_a_complete_type_are_found() {
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
    fn types_are_inserted_in_place() {
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
    fn answers_are_parsed() {
        let line = "::qrnn_preload::name_type(&corpus);";
        let say = |ty: &str| match parse_answer(&format!("qrnn-jupyter-type {ty}"), line) {
            Some((name, Answer::Type(ty))) if name == "corpus" => Some(ty),
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
        assert_eq!(without_places("(A<{closure@src/lib.rs:3:9: 3:12}>, u8)"), "(A<{closure}>, u8)");
        assert_eq!(without_places("impl Fn()"), "impl Fn()");
        assert_eq!(parse_answer("mismatched types", line), None);
        assert_eq!(parse_answer("qrnn-jupyter-type i32", "something else"), None);
    }

    #[test]
    fn probes_do_not_move_lines() {
        let code = "let a = 1; // one\na";
        let probed = with_probes(code, &untyped_variables(code));
        assert!(probed.starts_with(code));
        assert!(probed.ends_with("\n;::qrnn_preload::name_type(&a);\n"), "{probed}");
    }
}
