//! Replies for completion and inspection. Jupyter counts positions in characters of the cell.

use serde_json::{Value, json};

use crate::cells::commands::without_commands;
use crate::cells::positions::byte_of_char;
use crate::protocol::message::Request;
use crate::rust_analyzer::wire::{Completions, Inspection};

/// A cell, and the cursor as a byte of it.
pub struct Cursor {
    pub code: String,
    pub byte: usize,
}

impl Cursor {
    pub fn of(request: &Request) -> Option<Self> {
        let code = request.text("code")?.to_owned();
        let cursor = usize::try_from(request.number("cursor_pos")?).ok()?;
        let byte = byte_of_char(&code, cursor);
        Some(Self { code, byte })
    }

    /// The first byte of the command (`:dep`) that the cursor is in.
    pub fn command(&self) -> Option<usize> {
        let line = self.code[..self.byte].rfind('\n').map_or(0, |at| at + 1);
        let text = &self.code[line..self.byte];
        let start = line + (text.len() - text.trim_start().len());
        let blank = without_commands(&self.code);
        let command = self.code[start..].starts_with(':') && blank[start..].starts_with(' ');
        command.then_some(start)
    }

    /// The number of characters before a byte of the cell.
    fn characters(&self, byte: usize) -> usize {
        let byte = self.code.floor_char_boundary(byte);
        self.code[..byte].chars().count()
    }
}

/// `items` are texts, kinds and signatures.
fn matches(cursor: &Cursor, start: usize, end: usize, items: &[(&str, &str, &str)]) -> Value {
    let (start, end) = (cursor.characters(start), cursor.characters(end));
    let types = items.iter().map(|(text, kind, signature)| {
        json!({ "start": start, "end": end, "text": text, "type": kind, "signature": signature })
    });
    let matches: Vec<&str> = items.iter().map(|(text, ..)| *text).collect();
    json!({
        "status": "ok", "matches": matches, "cursor_start": start, "cursor_end": end,
        "metadata": { "_jupyter_types_experimental": types.collect::<Vec<_>>() },
    })
}

/// The content of a complete_reply for completions in a text in which the cell starts at `offset`.
pub fn completions(cursor: &Cursor, offset: usize, found: Option<Completions>) -> Value {
    let found = found.unwrap_or_default();
    // The range may be outside of the cell, in generated text.
    let range = found.start.checked_sub(offset).zip(found.end.checked_sub(offset));
    match range.filter(|(start, end)| *start <= cursor.byte && *end <= cursor.code.len()) {
        Some((start, end)) => {
            let items = found.items.iter();
            let items = items.map(|item| (&*item.text, &*item.kind, &*item.signature));
            matches(cursor, start, end, &items.collect::<Vec<_>>())
        }
        None => matches(cursor, cursor.byte, cursor.byte, &[]),
    }
}

/// The content of a complete_reply for the command that starts at `start`.
pub fn commands(cursor: &Cursor, start: usize, commands: &[String]) -> Value {
    let typed = &cursor.code[start..cursor.byte];
    let rest = &cursor.code[cursor.byte..];
    let end = cursor.byte + rest.find(char::is_whitespace).unwrap_or(rest.len());
    let fitting = commands.iter().filter(|command| command.starts_with(typed));
    let items: Vec<_> = fitting.map(|command| (command.as_str(), "magic", "")).collect();
    if items.is_empty() {
        return matches(cursor, cursor.byte, cursor.byte, &[]);
    }
    matches(cursor, start, end, &items)
}

/// The content of an inspect_reply.
pub fn inspection(found: Option<Inspection>) -> Value {
    let data = match &found {
        Some(Inspection { plain, markdown }) => {
            json!({ "text/plain": plain, "text/markdown": markdown })
        }
        None => json!({}),
    };
    json!({ "status": "ok", "found": found.is_some(), "data": data, "metadata": {} })
}

/// The lines below `[dependencies]` in a manifest.
pub fn dependencies(manifest: &str) -> String {
    let lines = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let lines = lines.filter(|line| !line.trim().is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rust_analyzer::wire::Item;

    fn cursor(code: &str) -> Cursor {
        let byte = code.find('|').unwrap();
        Cursor { code: code.replacen('|', "", 1), byte }
    }

    #[test]
    fn positions_are_characters_of_the_cell() {
        let cursor = cursor("\"é🦀\"; v.pu|sh(1)");
        let start = cursor.code.find("push").unwrap();
        let item = Item {
            text: "push".into(),
            kind: "function".into(),
            signature: "(&mut self, value: T)".into(),
        };
        let found = Completions { start: 100 + start, end: 104 + start, items: vec![item] };
        assert_eq!(
            completions(&cursor, 100, Some(found)),
            json!({
                "status": "ok", "matches": ["push"], "cursor_start": 8, "cursor_end": 12,
                "metadata": { "_jupyter_types_experimental": [{
                    "start": 8, "end": 12, "text": "push", "type": "function",
                    "signature": "(&mut self, value: T)",
                }] },
            })
        );
    }

    #[test]
    fn without_an_answer_nothing_is_replaced() {
        let cursor = cursor("é.|");
        let reply = completions(&cursor, 100, None);
        assert_eq!(reply["matches"], json!([]));
        assert_eq!((&reply["cursor_start"], &reply["cursor_end"]), (&json!(2), &json!(2)));
        let elsewhere = Completions { start: 90, end: 101, items: vec![] };
        assert_eq!(completions(&cursor, 100, Some(elsewhere)), reply);
    }

    #[test]
    fn commands_are_completed_before_code() {
        let all = [":dep".to_owned(), ":help".to_owned(), ":vars".to_owned()];
        let found = |code: &str| {
            let cursor = cursor(code);
            cursor.command().map(|start| commands(&cursor, start, &all))
        };
        assert_eq!(found(":de|").unwrap()["matches"], json!([":dep"]));
        assert_eq!(found(":dep rand\n  :|he").unwrap()["cursor_end"], json!(15));
        assert_eq!(found(":dep ra|").unwrap()["matches"], json!([]));
        assert_eq!(found("let x = 1;\n:de|"), None);
        assert_eq!(found("x.|"), None);
    }

    #[test]
    fn dependencies_are_read_from_a_manifest() {
        let manifest = "[lib]\nname = \"x\"\n\n[dependencies]\nrand = \"0.9\"\n\nlog = { path = \"/l\" }\n[profile.dev]\nopt-level = 2\n";
        assert_eq!(dependencies(manifest), "rand = \"0.9\"\nlog = { path = \"/l\" }\n");
        assert_eq!(dependencies(""), "");
    }
}
