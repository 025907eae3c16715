//! Filters rustc's messages on their way to evcxr.
//!
//! evcxr repairs a cell according to the places that a message points to: a variable was moved, or
//! the value at the end has no `evcxr_display`. A message that points to both places makes it do
//! both repairs, so each message is reduced to the place that it is about.

use serde_json::{Value, json};

use crate::rustc::generated_code::{STORE_LINE, closes_display, opens_display};

#[derive(Debug, PartialEq)]
pub enum Line {
    /// For cargo and evcxr.
    Forwarded(String),
    /// For the kernel; evcxr does not use warnings.
    Warning(Value),
}

pub fn filter(line: &str) -> Line {
    let forwarded = || Line::Forwarded(line.to_owned());
    let Ok(mut message) = serde_json::from_str::<Value>(line) else { return forwarded() };
    match message["level"].as_str() {
        Some("warning") => Line::Warning(message),
        Some("error") => {
            if is_about_storing(&message) {
                retain_primary(&mut message);
            }
            narrow(&mut message);
            for child in message["children"].as_array_mut().into_iter().flatten() {
                narrow(child);
                hide_import_site(child);
            }
            Line::Forwarded(message.to_string())
        }
        _ => forwarded(),
    }
}

/// Whether the variable to store was moved by the cell, or is still borrowed.
fn is_about_storing(message: &Value) -> bool {
    let moved = matches!(message["code"]["code"].as_str(), Some("E0382" | "E0505"));
    let mut spans = message["spans"].as_array().into_iter().flatten();
    moved && spans.any(|span| span["is_primary"] == true && text(span, 0).contains(STORE_LINE))
}

/// A line of the source text in a span.
fn text(span: &Value, line: usize) -> &str {
    span["text"][line]["text"].as_str().unwrap_or_default()
}

fn retain_primary(message: &mut Value) {
    if let Some(spans) = message["spans"].as_array_mut() {
        spans.retain(|span| span["is_primary"] == true);
    }
    message["children"] = json!([]);
}

/// Removes the lines that evcxr puts around the last expression from the spans.
fn narrow(message: &mut Value) {
    for span in message["spans"].as_array_mut().into_iter().flatten() {
        let lines = |span: &Value| span["text"].as_array().map_or(0, Vec::len);
        while lines(span) > 1 && opens_display(text(span, 0)) {
            remove_line(span, 0);
            let indent = text(span, 0).chars().take_while(|c| c.is_whitespace()).count();
            span["line_start"] = json!(span["line_start"].as_u64().unwrap_or_default() + 1);
            span["column_start"] = json!(indent + 1);
        }
        while lines(span) > 1 && closes_display(text(span, lines(span) - 1)) {
            remove_line(span, lines(span) - 1);
            let end = text(span, lines(span) - 1).trim_end().chars().count();
            span["line_end"] = json!(span["line_end"].as_u64().unwrap_or(1).saturating_sub(1));
            span["column_end"] = json!(end + 1);
        }
    }
}

/// rustc proposes an import at the first `use`, which is the kernel's. evcxr would take that place
/// for the error's, so the span gets another file name.
fn hide_import_site(child: &mut Value) {
    for span in child["spans"].as_array_mut().into_iter().flatten() {
        if text(span, 0).starts_with("use qrnn_preload::") {
            span["file_name"] = json!("the kernel's own");
        }
    }
}

fn remove_line(span: &mut Value, at: usize) {
    if let Some(text) = span["text"].as_array_mut() {
        text.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(message: &Value) -> Value {
        match filter(&message.to_string()) {
            Line::Forwarded(text) => serde_json::from_str(&text).unwrap(),
            Line::Warning(_) => panic!("an error is no warning"),
        }
    }

    #[test]
    fn a_moved_variable_points_only_to_its_store_line() {
        let store = format!("{STORE_LINE}T>(stringify!(q), q);");
        let message = json!({
            "level": "error", "code": {"code": "E0382"}, "children": [{"spans": []}],
            "spans": [
                {"is_primary": false, "text": [{"text": "drop(q)"}]},
                {"is_primary": true, "text": [{"text": store}]},
            ],
        });
        let forwarded = forwarded(&message);
        assert_eq!(forwarded["spans"].as_array().unwrap().len(), 1);
        assert_eq!(forwarded["spans"][0]["is_primary"], true);
        assert_eq!(forwarded["children"], json!([]));
    }

    #[test]
    fn moves_in_user_code_keep_every_place() {
        let message = json!({
            "level": "error", "code": {"code": "E0382"}, "children": [],
            "spans": [
                {"is_primary": false, "text": [{"text": "drop(q);"}]},
                {"is_primary": true, "text": [{"text": "q.len()"}]},
            ],
        });
        assert_eq!(forwarded(&message), message);
    }

    #[test]
    fn generated_lines_are_removed() {
        let message = json!({
            "level": "error", "code": null, "children": [],
            "spans": [{
                "line_start": 7, "column_start": 1, "line_end": 9, "column_end": 2,
                "text": [{"text": "("}, {"text": "  value "}, {"text": ").qrnn_ending().evcxr_display();"}],
            }],
        });
        let span = &forwarded(&message)["spans"][0];
        let place =
            ["line_start", "column_start", "line_end", "column_end"].map(|k| span[k].clone());
        assert_eq!(place, [8, 3, 8, 8].map(|n| json!(n)));
    }

    #[test]
    fn a_proposed_import_is_not_in_the_cell() {
        let message = json!({
            "level": "error", "code": {"code": "E0405"}, "spans": [],
            "children": [{"level": "help", "message": "import", "spans": [{
                "file_name": "src/lib.rs", "suggested_replacement": "use std::any::Any;",
                "text": [{"text": "use qrnn_preload::cell::*;"}],
            }]}],
        });
        let span = &forwarded(&message)["children"][0]["spans"][0];
        assert_ne!(span["file_name"], "src/lib.rs");
        assert_eq!(span["suggested_replacement"], "use std::any::Any;");
    }

    #[test]
    fn warnings_are_collected_and_other_lines_forwarded() {
        assert!(matches!(filter(r#"{"level":"warning","spans":[]}"#), Line::Warning(_)));
        for line in ["no JSON", r#"{"artifact":"libctx.so"}"#] {
            assert_eq!(filter(line), Line::Forwarded(line.into()));
        }
    }
}
