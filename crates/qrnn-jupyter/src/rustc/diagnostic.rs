//! A message about a cell, drawn as rustc draws it.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use evcxr::CompilationError;
use serde_json::Value;

use crate::cells::positions::byte_of;
use crate::rustc::compiled_cell::CompiledCell;

/// A message of the compiler, or the place where running code stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    pub level: Level<'static>,
    pub title: String,
    /// `E0308`
    pub code: Option<String>,
    pub annotations: Vec<Annotation>,
    /// Level (`note`, `help`) and text.
    pub notes: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// Bytes of the cell.
    pub range: Range<usize>,
    pub label: String,
    pub primary: bool,
}

impl Diagnostic {
    /// evcxr's error, translated to the user's code.
    pub fn from_evcxr(error: &CompilationError, compiled: &CompiledCell) -> Self {
        let mut annotations = vec![];
        for message in error.spanned_messages() {
            let Some(span) = message.span else { continue };
            let byte = |line, column| compiled.original(byte_of(&compiled.code, line, column));
            let range =
                byte(span.start_line, span.start_column)..byte(span.end_line, span.end_column);
            // The probes are behind the user's code.
            if range.start.max(range.end) > compiled.cell.len() {
                continue;
            }
            // evcxr repeats the title if rustc has no label.
            let label = message.label.strip_prefix("error: ").unwrap_or(&message.label);
            let label = if label == error.message() { String::new() } else { label.to_owned() };
            let annotation = Annotation { range, label, primary: message.is_primary };
            if !annotations.contains(&annotation) {
                annotations.push(annotation);
            }
        }
        let mut notes = notes(&error.json);
        if matches!(error.code(), Some("E0384" | "E0596")) {
            let text = "a variable of an earlier cell becomes mutable by `let mut x = x;`";
            notes.push(("help".into(), text.into()));
        }
        if let Some(hint) = error.evcxr_extra_hint() {
            notes.push(("note".into(), hint.into()));
        }
        let diagnostic = Self {
            level: Level::ERROR,
            title: error.message(),
            code: error.code().map(str::to_owned),
            annotations,
            notes,
        };
        diagnostic.without_generated_names()
    }

    /// A message in rustc's format. `place` translates a line and a column to a byte of the cell.
    pub fn from_rustc(message: &Value, place: impl Fn(usize, usize) -> Option<usize>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let spans = message["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        let annotations = spans.iter().filter_map(|span| {
            let range = byte_range(span, &place)?;
            let primary = span["is_primary"] == true;
            Some(Annotation { range, label: text(&span["label"]), primary })
        });
        let is_warning = message["level"] == "warning";
        let diagnostic = Self {
            level: if is_warning { Level::WARNING } else { Level::ERROR },
            title: text(&message["message"]),
            // The code of a warning is its lint, which a note names too.
            code: message["code"]["code"].as_str().filter(|_| !is_warning).map(str::to_owned),
            annotations: annotations.collect(),
            notes: notes(message),
        };
        diagnostic.without_generated_names()
    }

    fn without_generated_names(mut self) -> Self {
        let labels = self.annotations.iter_mut().map(|annotation| &mut annotation.label);
        let notes = self.notes.iter_mut().map(|(_, text)| text);
        for text in labels.chain(notes).chain([&mut self.title]) {
            *text = text.replace("EvcxrUserCodeError", "CellError");
        }
        self
    }

    /// An error at the token at a byte of the cell.
    pub fn at(title: &str, byte: Option<usize>, cell: &str, label: &str) -> Self {
        let annotation = byte.map(|start| {
            let range = start..start + token_length(&cell[start..]);
            Annotation { range, label: label.into(), primary: true }
        });
        Self {
            level: Level::ERROR,
            title: title.into(),
            code: None,
            annotations: annotation.into_iter().collect(),
            notes: vec![],
        }
    }

    /// With ANSI colors. `name` stands in place of a file's name.
    pub fn render(&self, cell: &str, name: &str) -> String {
        let mut title = self.level.clone().primary_title(&self.title);
        if let Some(id) = &self.code {
            title = title.id(id);
        }
        let mut group = Group::with_title(title);
        if !self.annotations.is_empty() {
            let annotations =
                self.annotations.iter().map(|Annotation { range, label, primary }| {
                    let kind =
                        if *primary { AnnotationKind::Primary } else { AnnotationKind::Context };
                    let annotation = kind.span(range.clone());
                    if label.is_empty() { annotation } else { annotation.label(label) }
                });
            group = group
                .element(Snippet::source(cell).line_start(1).path(name).annotations(annotations));
        }
        for (level, text) in &self.notes {
            let level = if level == "help" { Level::HELP } else { Level::NOTE };
            group = group.element(level.message(text));
        }
        Renderer::styled().render(&[group])
    }
}

/// The bytes of a span. For a span inside a macro, those of the macro call.
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

/// The notes of a message, except those about generated code.
fn notes(message: &Value) -> Vec<(String, String)> {
    let children = message["children"].as_array().into_iter().flatten();
    let notes = children.filter_map(|child| {
        let (level, text) = (child["level"].as_str()?, child["message"].as_str()?);
        if text.is_empty() || text.contains("evcxr") || text.contains("qrnn_preload") {
            return None;
        }
        let replacement = child["spans"][0]["suggested_replacement"].as_str().map(str::trim);
        let text = match replacement.filter(|replacement| !replacement.is_empty()) {
            Some(replacement) => format!("{text}: `{replacement}`"),
            None => text.to_owned(),
        };
        Some((level.to_owned(), text))
    });
    notes.collect()
}

/// The bytes of the first token, at least one character.
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
    fn it_looks_like_a_message_of_rustc() {
        let code = "let a = 1;\nlet b: i32 = \"x\";";
        let diagnostic = Diagnostic {
            level: Level::ERROR,
            title: "mismatched types".into(),
            code: Some("E0308".into()),
            annotations: vec![
                Annotation {
                    range: 24..27,
                    label: "expected `i32`, found `&str`".into(),
                    primary: true,
                },
                Annotation { range: 18..21, label: "expected due to this".into(), primary: false },
            ],
            notes: vec![("help".into(), "try harder".into())],
        };
        let drawn = diagnostic.render(code, "cell [3]");
        assert!(drawn.contains('\u{1b}'), "no color");
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
}
