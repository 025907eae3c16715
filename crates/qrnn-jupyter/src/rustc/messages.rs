//! What rustc says of a cell, line by line, on its way to evcxr.
//!
//! evcxr mends a cell by rustc's messages: by where they point it decides that a variable was moved,
//! or that the value at the end cannot show itself. A message that points to both places at once
//! makes it do both, so each is reduced to what it is about.

use serde_json::{Value, json};

use crate::rustc::generated_code::{STORING, closes_ending, opens_ending};

/// What becomes of a line that rustc wrote.
#[derive(Debug, PartialEq)]
pub enum Line {
    /// For cargo and evcxr.
    Passed(String),
    /// A warning, which evcxr has no use for.
    Warning(Value),
}

/// Sorts one line.
pub fn sorted(line: &str) -> Line {
    let passed = || Line::Passed(line.to_owned());
    let Ok(mut message) = serde_json::from_str::<Value>(line) else { return passed() };
    match message["level"].as_str() {
        Some("warning") => Line::Warning(message),
        Some("error") => {
            if is_about_storing(&message) {
                retain_primary(&mut message);
            }
            narrow(&mut message);
            for child in message["children"].as_array_mut().into_iter().flatten() {
                narrow(child);
                disown(child);
            }
            Line::Passed(message.to_string())
        }
        _ => passed(),
    }
}

/// A variable was moved by the cell, or is borrowed where it should be stored.
fn is_about_storing(message: &Value) -> bool {
    let moved = matches!(message["code"]["code"].as_str(), Some("E0382" | "E0505"));
    let mut spans = message["spans"].as_array().into_iter().flatten();
    moved && spans.any(|span| span["is_primary"] == true && first_line(span).contains(STORING))
}

fn first_line(span: &Value) -> &str {
    span["text"][0]["text"].as_str().unwrap_or_default()
}

fn retain_primary(message: &mut Value) {
    if let Some(spans) = message["spans"].as_array_mut() {
        spans.retain(|span| span["is_primary"] == true);
    }
    message["children"] = json!([]);
}

/// Takes the generated brackets around the last expression out of the spans that include them.
fn narrow(message: &mut Value) {
    for span in message["spans"].as_array_mut().into_iter().flatten() {
        let lines = |span: &Value| span["text"].as_array().map_or(0, Vec::len);
        let text = |span: &Value, at: usize| {
            span["text"][at]["text"].as_str().unwrap_or_default().to_owned()
        };
        while lines(span) > 1 && opens_ending(&text(span, 0)) {
            remove_line(span, 0);
            let next = text(span, 0);
            span["line_start"] = json!(span["line_start"].as_u64().unwrap_or_default() + 1);
            let indent = next.chars().take_while(|c| c.is_whitespace()).count();
            span["column_start"] = json!(indent + 1);
        }
        while lines(span) > 1 && closes_ending(&text(span, lines(span) - 1)) {
            remove_line(span, lines(span) - 1);
            let last = text(span, lines(span) - 1);
            span["line_end"] = json!(span["line_end"].as_u64().unwrap_or(1).saturating_sub(1));
            span["column_end"] = json!(last.trim_end().chars().count() + 1);
        }
    }
}

/// A proposed import stands at the first `use`, the kernel's own. evcxr would take that for code of
/// the user's, and the proposal for the error.
fn disown(child: &mut Value) {
    for span in child["spans"].as_array_mut().into_iter().flatten() {
        if first_line(span).starts_with("use qrnn_preload::") {
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

    fn passed(message: &Value) -> Value {
        match sorted(&message.to_string()) {
            Line::Passed(text) => serde_json::from_str(&text).unwrap(),
            Line::Warning(_) => panic!("an error is no warning"),
        }
    }

    #[test]
    fn a_moved_variable_points_to_its_storing_alone() {
        let storing = format!("{STORING}T>(stringify!(q), q);");
        let message = json!({
            "level": "error", "code": {"code": "E0382"}, "children": [{"spans": []}],
            "spans": [
                {"is_primary": false, "text": [{"text": "drop(q)"}]},
                {"is_primary": true, "text": [{"text": storing}]},
            ],
        });
        let passed = passed(&message);
        assert_eq!(passed["spans"].as_array().unwrap().len(), 1);
        assert_eq!(passed["spans"][0]["is_primary"], true);
        assert_eq!(passed["children"], json!([]));
    }

    #[test]
    fn the_users_own_moves_keep_every_place() {
        let message = json!({
            "level": "error", "code": {"code": "E0382"}, "children": [],
            "spans": [
                {"is_primary": false, "text": [{"text": "drop(q);"}]},
                {"is_primary": true, "text": [{"text": "q.len()"}]},
            ],
        });
        assert_eq!(passed(&message), message);
    }

    #[test]
    fn generated_brackets_are_taken_out() {
        let message = json!({
            "level": "error", "code": null, "children": [],
            "spans": [{
                "line_start": 7, "column_start": 1, "line_end": 9, "column_end": 2,
                "text": [{"text": "("}, {"text": "  value "}, {"text": ").qrnn_ending().evcxr_display();"}],
            }],
        });
        let span = &passed(&message)["spans"][0];
        let place =
            ["line_start", "column_start", "line_end", "column_end"].map(|k| span[k].clone());
        assert_eq!(place, [8, 3, 8, 8].map(|n| json!(n)));
    }

    #[test]
    fn a_proposed_import_is_no_error() {
        let message = json!({
            "level": "error", "code": {"code": "E0405"}, "spans": [],
            "children": [{"level": "help", "message": "import", "spans": [{
                "file_name": "src/lib.rs", "suggested_replacement": "use std::any::Any;",
                "text": [{"text": "use qrnn_preload::cell::*;"}],
            }]}],
        });
        let span = &passed(&message)["children"][0]["spans"][0];
        assert_ne!(span["file_name"], "src/lib.rs");
        assert_eq!(span["suggested_replacement"], "use std::any::Any;");
    }

    #[test]
    fn warnings_are_set_aside_and_other_lines_pass() {
        assert!(matches!(sorted(r#"{"level":"warning","spans":[]}"#), Line::Warning(_)));
        for line in ["no JSON", r#"{"artifact":"libctx.so"}"#] {
            assert_eq!(sorted(line), Line::Passed(line.into()));
        }
    }
}
