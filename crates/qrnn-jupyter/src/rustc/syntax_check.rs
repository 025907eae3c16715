//! Syntax errors, reported in rustc's words before evcxr reads the cell.
//!
//! evcxr takes what its parser recognizes and silently drops the rest, for example everything after
//! a stray `}`. So a cell is parsed here first, and rustc explains what is wrong with it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cells::positions::byte_of;
use crate::cells::{commands, completeness, statements};
use crate::rustc::diagnostic::Diagnostic;

/// Opens a body that rustc parses but does not compile. The cell starts on the next line.
const OPENING: &str = "#[cfg(false)] fn cell() {\n";
const END: &str = "the end of the cell";

/// The syntax errors of a cell. There are none if rustc accepts what the parser here does not.
/// rustc may write a file to `workdir`.
pub fn errors(cell: &str, workdir: &Path) -> Vec<Diagnostic> {
    if statements::is_rust(cell) {
        return vec![];
    }
    let rust = commands::without_commands(cell);
    // An unmatched closing bracket would close the body around the cell.
    let alone = if completeness::is_balanced(&rust) { vec![] } else { ask(&rust, workdir) };
    let (messages, before) = if alone.is_empty() {
        (ask(&format!("{OPENING}{rust}\n}}"), workdir), 1)
    } else {
        (alone, 0)
    };
    let lines = rust.lines().count();
    let place = |line: usize, column: usize| match line.checked_sub(before) {
        Some(0) | None => None,
        // The bracket that closes the body.
        Some(line) if line > lines => Some(rust.trim_end().len()),
        Some(line) => Some(byte_of(&rust, line, column)),
    };
    let errors = messages.iter().filter(|message| {
        let text = message["message"].as_str().unwrap_or_default();
        message["level"] == "error" && !text.starts_with("aborting due to")
    });
    let diagnostics = errors.map(|message| {
        let mut diagnostic = Diagnostic::from_rustc(message, place);
        if before > 0 && is_at_end(message, lines + before) {
            diagnostic.title = diagnostic.title.replace("`}`", END);
        }
        for annotation in &mut diagnostic.annotations {
            annotation.label = annotation.label.replace("found `}`", &format!("found {END}"));
        }
        diagnostic.title = diagnostic.title.replace("this file", "this cell");
        let primary = diagnostic.annotations.iter().find(|annotation| annotation.primary);
        if primary.is_some_and(|primary| rust[primary.range.start..].starts_with(':')) {
            let text = "commands such as `:dep` stand before a cell's code";
            diagnostic.notes.push(("help".into(), text.into()));
        }
        diagnostic
    });
    diagnostics.collect()
}

/// Whether rustc found the bracket that closes the body in place of something else.
fn is_at_end(message: &Value, line: usize) -> bool {
    let found = message["message"].as_str().is_some_and(|text| text.ends_with("found `}`"));
    let spans = message["spans"].as_array().into_iter().flatten();
    let last = spans.filter_map(|span| span["line_end"].as_u64()).max();
    // A missing semicolon is marked after the statement, one line before.
    found && last.is_none_or(|last| usize::try_from(last).is_ok_and(|last| last + 1 >= line))
}

fn ask(source: &str, workdir: &Path) -> Vec<Value> {
    let run = || -> std::io::Result<Vec<u8>> {
        let mut child = Command::new("rustc")
            .args(["--edition=2024", "--crate-type=lib", "--crate-name=cell"])
            .args(["--cap-lints=allow", "--error-format=json", "--emit=metadata", "-", "-o"])
            .arg(workdir.join("syntax.rmeta"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(source.as_bytes())?;
        }
        Ok(child.wait_with_output()?.stderr)
    };
    // If rustc cannot be run, compiling the cell reports it.
    let stderr = run().unwrap_or_default();
    String::from_utf8_lossy(&stderr).lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cell: &str) -> Vec<Diagnostic> {
        let folder = tempfile::tempdir().unwrap();
        errors(cell, folder.path())
    }

    #[test]
    fn syntax_errors_are_placed() {
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
            let first = found.first().unwrap_or_else(|| panic!("{cell} is accepted"));
            assert_eq!(first.title, title, "{cell}");
            let place = first
                .annotations
                .iter()
                .find(|annotation| annotation.primary)
                .map(|annotation| annotation.range.start);
            assert_eq!(place, Some(at), "{cell}: {first:?}");
        }
    }

    #[test]
    fn an_open_bracket_is_marked() {
        for (cell, at) in [("{", 0), ("match x {", 8), ("f(1, [2);", 5), ("fn f( {", 6)] {
            let found = of(cell);
            assert!(!found.is_empty(), "{cell}");
            let starts: Vec<usize> =
                found[0].annotations.iter().map(|annotation| annotation.range.start).collect();
            assert!(starts.contains(&at), "{cell}: {found:?}");
        }
    }

    #[test]
    fn a_command_after_code_is_explained() {
        let found = of("let x = 1;\n:dep rand");
        assert!(found[0].notes.iter().any(|(_, text)| text.contains("before a cell's code")));
    }

    #[test]
    fn valid_cells_have_no_errors() {
        for cell in ["", "let x = undefined;", "x", ":dep a\nuse a::b;", "f();;", "// words"] {
            assert_eq!(of(cell), [], "{cell}");
        }
    }
}
