//! What is wrong with a cell, drawn as rustc draws it.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use evcxr::CompilationError;

use serde_json::Value;

use crate::rustc::type_probes::{self, Insertion};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Severity {
    Error,
    Warning,
}

/// One complaint of the compiler's, or one place where running code stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub title: String,
    /// `E0308`
    pub code: Option<String>,
    pub marks: Vec<Mark>,
    /// Level (`note`, `help`) and text.
    pub remarks: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Bytes of the cell's code.
    pub range: Range<usize>,
    pub label: String,
    pub primary: bool,
}

impl Diagnostic {
    /// Evcxr's error about `compiled`, which is `code` with insertions, in terms of `code`.
    pub fn new(
        error: &CompilationError,
        compiled: &str,
        code: &str,
        insertions: &[Insertion],
    ) -> Self {
        let mut marks = vec![];
        for message in error.spanned_messages() {
            let Some(span) = message.span else { continue };
            let start = byte_of(compiled, span.start_line, span.start_column);
            let end = byte_of(compiled, span.end_line, span.end_column);
            let range =
                type_probes::original(insertions, start)..type_probes::original(insertions, end);
            // What lies behind the user's own code belongs to the probes.
            if range.start > code.len() || range.end > code.len() {
                continue;
            }
            // Evcxr repeats the title where rustc has no label.
            let label = message.label.strip_prefix("error: ").unwrap_or(&message.label);
            let label = if label == error.message() { String::new() } else { label.to_owned() };
            let mark = Mark { range, label, primary: message.is_primary };
            if !marks.contains(&mark) {
                marks.push(mark);
            }
        }
        let mut remarks = remarks(&error.json);
        if matches!(error.code(), Some("E0384" | "E0596")) {
            let text = "a variable of an earlier cell becomes mutable by `let mut x = x;`";
            remarks.push(("help".into(), text.into()));
        }
        if let Some(hint) = error.evcxr_extra_hint() {
            remarks.push(("note".into(), hint.into()));
        }
        let mut diagnostic = Self {
            severity: Severity::Error,
            title: error.message(),
            code: error.code().map(str::to_owned),
            marks,
            remarks,
        };
        diagnostic.forget_generated();
        diagnostic
    }

    /// A message of rustc's own; `place` leads a line and a column to a byte of the cell, where they
    /// are in the cell.
    pub fn from_rustc(message: &Value, place: impl Fn(usize, usize) -> Option<usize>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let spans = message["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        let marks = spans.iter().filter_map(|span| {
            let range = byte_range(span, &place)?;
            let primary = span["is_primary"] == true;
            Some(Mark { range, label: text(&span["label"]), primary })
        });
        let warns = message["level"] == "warning";
        let mut diagnostic = Self {
            severity: if warns { Severity::Warning } else { Severity::Error },
            title: text(&message["message"]),
            // A warning's is the name of its lint, which a note tells as well.
            code: message["code"]["code"].as_str().filter(|_| !warns).map(str::to_owned),
            marks: marks.collect(),
            remarks: remarks(message),
        };
        diagnostic.forget_generated();
        diagnostic
    }

    /// Calls the types of generated code by names that tell something.
    fn forget_generated(&mut self) {
        let labels = self.marks.iter_mut().map(|mark| &mut mark.label);
        let remarks = self.remarks.iter_mut().map(|(_, text)| text);
        for text in labels.chain(remarks).chain([&mut self.title]) {
            if text.contains("EvcxrUserCodeError") {
                *text = text.replace("EvcxrUserCodeError", "CellError");
            }
        }
    }

    /// A place and what happened there.
    pub fn at(title: &str, byte: Option<usize>, code: &str, label: &str) -> Self {
        let marks = byte.map(|start| {
            let end = start + token_length(&code[start..]);
            Mark { range: start..end, label: label.into(), primary: true }
        });
        let marks = marks.into_iter().collect();
        let severity = Severity::Error;
        Self { severity, title: title.into(), code: None, marks, remarks: vec![] }
    }

    /// With colours for a terminal or a notebook, `name` in the place of a file's.
    pub fn render(&self, code: &str, name: &str) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut title = level.primary_title(&self.title);
        if let Some(id) = &self.code {
            title = title.id(id);
        }
        let mut group = Group::with_title(title);
        if !self.marks.is_empty() {
            let annotations = self.marks.iter().map(|mark| {
                let kind =
                    if mark.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
                let annotation = kind.span(mark.range.clone());
                if mark.label.is_empty() { annotation } else { annotation.label(&mark.label) }
            });
            group = group
                .element(Snippet::source(code).line_start(1).path(name).annotations(annotations));
        }
        for (level, text) in &self.remarks {
            let level = if level == "help" { Level::HELP } else { Level::NOTE };
            group = group.element(level.message(text));
        }
        Renderer::styled().render(&[group])
    }
}

/// The bytes of a span; those of the macro's call where it lies in a macro.
pub fn byte_range(
    span: &Value,
    place: &impl Fn(usize, usize) -> Option<usize>,
) -> Option<Range<usize>> {
    let own = || {
        let number = |name: &str| usize::try_from(span[name].as_u64()?).ok();
        let file = span["file_name"].as_str()?;
        if !(file.ends_with("src/lib.rs") || file == "<anon>") {
            return None;
        }
        let start = place(number("line_start")?, number("column_start")?)?;
        let end = place(number("line_end")?, number("column_end")?)?;
        Some(start..end.max(start))
    };
    let expansion = &span["expansion"]["span"];
    own().or_else(|| if expansion.is_null() { None } else { byte_range(expansion, place) })
}

fn remarks(message: &Value) -> Vec<(String, String)> {
    let mut remarks = vec![];
    let children = message["children"].as_array().map(Vec::as_slice).unwrap_or_default();
    for child in children {
        let (Some(level), Some(text)) = (child["level"].as_str(), child["message"].as_str()) else {
            continue;
        };
        // About code that the user never wrote.
        if text.is_empty() || text.contains("evcxr") || text.contains("qrnn_preload") {
            continue;
        }
        let replacement = child["spans"][0]["suggested_replacement"].as_str().map(str::trim);
        let text = match replacement.filter(|replacement| !replacement.is_empty()) {
            Some(replacement) => format!("{text}: `{replacement}`"),
            None => text.to_owned(),
        };
        remarks.push((level.to_owned(), text));
    }
    remarks
}

/// The byte of a line and a column, both counted from 1, the column in characters.
pub fn byte_of(code: &str, line: usize, column: usize) -> usize {
    let mut start = 0;
    for (number, text) in code.split_inclusive('\n').enumerate() {
        if number + 1 == line {
            let inside = text.char_indices().nth(column.saturating_sub(1));
            return start + inside.map_or(text.trim_end_matches('\n').len(), |(at, _)| at);
        }
        start += text.len();
    }
    code.len()
}

/// The first token's bytes; at least one character, at most its line.
fn token_length(code: &str) -> usize {
    let word = code.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(code.len());
    let first = code.chars().next().map_or(0, char::len_utf8);
    word.max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('\u{1b}') {
            plain += &rest[..start];
            rest = rest[start..].split_once('m').map_or("", |(_, rest)| rest);
        }
        plain + rest
    }

    #[test]
    fn it_looks_like_rustcs() {
        let code = "let a = 1;\nlet b: i32 = \"x\";";
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            title: "mismatched types".into(),
            code: Some("E0308".into()),
            marks: vec![
                Mark { range: 24..27, label: "expected `i32`, found `&str`".into(), primary: true },
                Mark { range: 18..21, label: "expected due to this".into(), primary: false },
            ],
            remarks: vec![("help".into(), "try harder".into())],
        };
        let drawn = diagnostic.render(code, "cell [3]");
        assert!(drawn.contains('\u{1b}'), "no colour");
        let plain = plain(&drawn);
        for part in [
            "error[E0308]: mismatched types",
            "--> cell [3]:2:14",
            "2 | let b: i32 = \"x\";",
            "^^^ expected `i32`, found `&str`",
            "--- expected due to this",
            "= help: try harder",
        ] {
            let part = part.trim_start_matches("--- ");
            assert!(plain.contains(part), "{part} is not in\n{plain}");
        }
    }

    #[test]
    fn bytes_follow_lines_and_columns() {
        let code = "é = 1\nab\n";
        assert_eq!(byte_of(code, 1, 1), 0);
        assert_eq!(byte_of(code, 1, 2), 2);
        assert_eq!(byte_of(code, 2, 2), 8);
        assert_eq!(byte_of(code, 2, 3), 9);
        assert_eq!(byte_of(code, 2, 99), 9);
        assert_eq!(byte_of(code, 9, 1), code.len());
    }
}
