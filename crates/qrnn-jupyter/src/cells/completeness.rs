//! Whether a cell is complete: what a console asks when its user presses Enter.

use ra_ap_syntax::{Edition, SourceFile, SyntaxKind, TextSize};

use crate::cells::commands::without_commands;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Completeness {
    Complete,
    /// More lines are needed; the next one is indented by this many spaces.
    Incomplete(usize),
    /// More lines cannot make it valid Rust.
    Invalid,
}

pub fn of(code: &str) -> Completeness {
    let rust = without_commands(code);
    if rust.trim().is_empty() {
        return Completeness::Complete;
    }
    match open(&rust) {
        None => return Completeness::Invalid,
        Some(Open::Text) => return Completeness::Incomplete(0),
        Some(Open::Brackets(open)) if open.is_empty() => {}
        Some(Open::Brackets(open)) => return Completeness::Incomplete(4 * open.len()),
    }
    const OPENING: &str = "fn f(){";
    let parsed = SourceFile::parse(&format!("{OPENING}{rust}\n}}"), Edition::Edition2024);
    let errors = parsed.errors();
    if errors.is_empty() {
        return Completeness::Complete;
    }
    // If every error is at the end, as in `let x =`, more text may fix it.
    let end = TextSize::try_from(OPENING.len() + rust.trim_end().len()).unwrap_or_default();
    if errors.iter().all(|error| error.range().end() >= end) {
        Completeness::Incomplete(0)
    } else {
        Completeness::Invalid
    }
}

/// What is still open where the code ends.
enum Open {
    /// Opening brackets, the outermost first.
    Brackets(Vec<SyntaxKind>),
    /// A string or a comment.
    Text,
}

/// Whether every bracket has its counterpart.
pub fn is_balanced(code: &str) -> bool {
    match open(code) {
        Some(Open::Brackets(open)) => open.is_empty(),
        Some(Open::Text) => true,
        None => false,
    }
}

/// The brackets that close the open ones.
pub fn closing(code: &str) -> String {
    let Some(Open::Brackets(open)) = open(code) else { return String::new() };
    let close = |kind: &SyntaxKind| match kind {
        SyntaxKind::L_PAREN => ')',
        SyntaxKind::L_BRACK => ']',
        _ => '}',
    };
    open.iter().rev().map(close).collect()
}

/// `None` if a closing bracket has no opening one.
fn open(code: &str) -> Option<Open> {
    let lexed = ra_ap_parser::LexedStr::new(Edition::Edition2024, code);
    let mut open = vec![];
    for i in 0..lexed.len() {
        match lexed.kind(i) {
            kind @ (SyntaxKind::L_PAREN | SyntaxKind::L_BRACK | SyntaxKind::L_CURLY) => {
                open.push(kind)
            }
            SyntaxKind::R_PAREN if open.pop() != Some(SyntaxKind::L_PAREN) => return None,
            SyntaxKind::R_BRACK if open.pop() != Some(SyntaxKind::L_BRACK) => return None,
            SyntaxKind::R_CURLY if open.pop() != Some(SyntaxKind::L_CURLY) => return None,
            _ => {}
        }
    }
    let unterminated = lexed.errors().any(|(token, error)| {
        token + 1 == lexed.len() && error.to_lowercase().contains("terminate")
    });
    Some(if unterminated { Open::Text } else { Open::Brackets(open) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_cells() {
        for code in [
            "",
            "1 + 1",
            "let x = 1;",
            "fn f() { 1 }",
            "// a comment",
            "use std::fmt;\n",
            ":dep rand = \"0.9\"\nlet x = 1;",
            "for i in 0..3 {\n    println!(\"{i}\");\n}",
            "let s = \"(\";",
            "let c = '{'; /* { */ c",
            "struct S { a: u8 }\nS { a: 1 }",
            ":vars",
            "!ls",
            "model.fit()?",
            "let r = r#\"\"#;",
        ] {
            assert_eq!(of(code), Completeness::Complete, "{code}");
        }
    }

    #[test]
    fn incomplete_cells() {
        for (code, indent) in [
            ("fn f() {", 4),
            ("let v = vec![1,", 4),
            ("let s = \"abc", 0),
            ("/* a comment", 0),
            ("f(g(\n", 8),
            ("let x =", 0),
            ("1 +", 0),
            ("let r = r#\"abc\"", 0),
            ("let y = a.", 0),
        ] {
            assert_eq!(of(code), Completeness::Incomplete(indent), "{code}");
        }
    }

    #[test]
    fn open_brackets_can_be_closed() {
        for (code, expected) in
            [("f(vec![1, {", "}])"), ("f(')', \"(\"", ")"), ("f()", ""), ("f(]", ""), ("f(\"a", "")]
        {
            assert_eq!(closing(code), expected, "{code}");
        }
    }

    #[test]
    fn invalid_cells() {
        for code in ["let x = );", "}", "let let = 1;", "fn (] {}", "this is not rust at all;"] {
            assert_eq!(of(code), Completeness::Invalid, "{code}");
        }
    }
}
