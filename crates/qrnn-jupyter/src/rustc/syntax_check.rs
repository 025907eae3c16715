//! Cells that are no Rust, refused in rustc's own words before evcxr reads them.
//!
//! evcxr takes from a cell what its parser can make out and leaves the rest: what stands behind a
//! stray `}`, or a `let` without a pattern, would never run, and nobody would say so. So a cell is
//! parsed here first, and where that fails, rustc is asked what is wrong.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cells::completeness;
use crate::cells::statements;
use crate::rustc::diagnostic::{Diagnostic, byte_of};

/// A body that is parsed and compiled no further; the cell begins on the line below.
const OPENING: &str = "#[cfg(false)] fn cell() {\n";
const END: &str = "the end of the cell";

/// What is wrong with the syntax of a cell; nothing where it is Rust, and nothing where rustc takes
/// what the parser here does not know. `folder` is for a file that rustc may write.
pub fn complaints(cell: &str, folder: &Path) -> Vec<Diagnostic> {
    if statements::is_rust(cell) {
        return vec![];
    }
    let rust = completeness::without_commands(cell);
    // A bracket that is not open would close the body around the cell.
    let alone = if completeness::is_balanced(&rust) { vec![] } else { ask(&rust, folder) };
    let (messages, before) = if alone.is_empty() {
        (ask(&format!("{OPENING}{rust}\n}}"), folder), 1)
    } else {
        (alone, 0)
    };
    let lines = rust.lines().count();
    let errors = messages.iter().filter(|message| {
        let text = message["message"].as_str().unwrap_or_default();
        message["level"] == "error" && !text.starts_with("aborting due to")
    });
    let place = |line: usize, column: usize| match line.checked_sub(before) {
        Some(0) => None,
        // The bracket that closes the body.
        Some(line) if line > lines => Some(rust.trim_end().len()),
        Some(line) => Some(byte_of(&rust, line, column)),
        None => None,
    };
    errors
        .map(|message| {
            let mut diagnostic = Diagnostic::from_rustc(message, place);
            if before > 0 && is_behind(message, lines + before) {
                diagnostic.title = diagnostic.title.replace("`}`", END);
            }
            for mark in &mut diagnostic.marks {
                mark.label = mark.label.replace("found `}`", &format!("found {END}"));
            }
            diagnostic.title = diagnostic.title.replace("this file", "this cell");
            let marked = diagnostic.marks.iter().find(|mark| mark.primary);
            if marked.is_some_and(|mark| rust[mark.range.start..].starts_with(':')) {
                let text = "commands such as `:dep` stand before a cell's code";
                diagnostic.remarks.push(("help".into(), text.into()));
            }
            diagnostic
        })
        .collect()
}

/// Whether rustc found the closing bracket of ours where something else should be.
fn is_behind(message: &Value, line: usize) -> bool {
    let found = message["message"].as_str().is_some_and(|text| text.ends_with("found `}`"));
    let spans = message["spans"].as_array().into_iter().flatten();
    let last = spans.filter_map(|span| span["line_end"].as_u64()).max();
    // A missing semicolon is marked behind the statement that lacks it.
    found && last.is_none_or(|last| usize::try_from(last).is_ok_and(|last| last + 1 >= line))
}

fn ask(source: &str, folder: &Path) -> Vec<Value> {
    let run = || -> std::io::Result<Vec<u8>> {
        let mut child = Command::new("rustc")
            .args([
                "--edition=2024",
                "--crate-type=lib",
                "--cap-lints=allow",
                "--error-format=json",
            ])
            .args(["--crate-name=cell", "--emit=metadata", "-", "-o"])
            .arg(folder.join("syntax.rmeta"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(source.as_bytes())?;
        }
        Ok(child.wait_with_output()?.stderr)
    };
    // Without a rustc nothing works, and what comes next says so.
    let said = run().unwrap_or_default();
    String::from_utf8_lossy(&said).lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cell: &str) -> Vec<Diagnostic> {
        let folder = tempfile::tempdir().unwrap();
        complaints(cell, folder.path())
    }

    #[test]
    fn what_is_no_rust_is_told_at_its_place() {
        for (cell, title, at) in [
            ("}\nprintln!(\"executed\");", "unexpected closing delimiter: `}`", 0),
            ("} else {", "unexpected closing delimiter: `}`", 0),
            ("f();\n}\ng();", "unexpected closing delimiter: `}`", 5),
            ("let", "expected pattern, found the end of the cell", 3),
            ("let = 5;", "expected pattern, found `=`", 4),
            ("let x =", "expected expression, found the end of the cell", 7),
            ("let a = 5", "expected `;`, found the end of the cell", 9),
            ("use std::", "expected identifier, found the end of the cell", 9),
            ("use", "expected identifier, found the end of the cell", 3),
            ("struct", "expected identifier, found the end of the cell", 6),
            ("1 2", "expected one of `.`, `;`, `?`, `}`, or an operator, found `2`", 2),
            ("let é = \"abc", "unterminated double quote string", 9),
            ("1 /* open", "unterminated block comment", 2),
            ("#[derive(Debug)]", "expected statement after outer attribute", 0),
            ("let x\u{a0}= 5;", "unknown start of token: \\u{a0}", 5),
            (":dep a\n1;\nlet = 2;", "expected pattern, found `=`", 14),
        ] {
            let found = of(cell);
            let first = found.first().unwrap_or_else(|| panic!("{cell} is taken for Rust"));
            assert_eq!(first.title, title, "{cell}");
            let place = first.marks.iter().find(|mark| mark.primary).map(|mark| mark.range.start);
            assert_eq!(place, Some(at), "{cell}: {first:?}");
        }
    }

    #[test]
    fn an_open_bracket_is_marked() {
        for (cell, at) in [("{", 0), ("match x {", 8), ("f(1, [2);", 5), ("fn f( {", 6)] {
            let found = of(cell);
            assert!(!found.is_empty(), "{cell}");
            let starts: Vec<usize> = found[0].marks.iter().map(|mark| mark.range.start).collect();
            assert!(starts.contains(&at), "{cell}: {found:?}");
        }
    }

    #[test]
    fn a_command_behind_code_is_explained() {
        let found = of("let x = 1;\n:dep rand");
        assert!(found[0].remarks.iter().any(|(_, text)| text.contains("before a cell's code")));
    }

    #[test]
    fn rust_is_let_pass() {
        for cell in ["", "let x = undefined;", "x", ":dep a\nuse a::b;", "f();;", "// words"] {
            assert_eq!(of(cell), [], "{cell}");
        }
    }
}
