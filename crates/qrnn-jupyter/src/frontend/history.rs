//! The history of this kernel's cells.

use std::collections::HashSet;

use regex::Regex;
use serde_json::{Value, json};

use crate::protocol::message::Request;

/// The number of this kernel's session. Earlier sessions are not stored.
const SESSION: i64 = 0;

#[derive(Debug, Default)]
pub struct History {
    /// Execution counts and code.
    cells: Vec<(u64, String)>,
}

impl History {
    pub fn add(&mut self, count: u64, code: &str) {
        self.cells.push((count, code.to_owned()));
    }

    /// The `history` of a history_reply.
    pub fn find(&self, request: &Request) -> Result<Value, String> {
        let kind = request.text("hist_access_type");
        let mut found: Vec<&(u64, String)> = match kind {
            Some("tail") => self.cells.iter().collect(),
            Some("range") => self.range(request),
            Some("search") => {
                let pattern = expression(request.text("pattern").unwrap_or("*"))?;
                self.cells.iter().filter(|(_, code)| pattern.is_match(code)).collect()
            }
            other => return Err(format!("unknown hist_access_type: {other:?}")),
        };
        if kind == Some("search") && request.flag("unique", false) {
            // The last of equal cells stays.
            let mut seen = HashSet::new();
            found.reverse();
            found.retain(|(_, code)| seen.insert(code.as_str()));
            found.reverse();
        }
        if let Some(n) = request.number("n").filter(|_| kind != Some("range")) {
            let n = usize::try_from(n).unwrap_or(0);
            found.drain(..found.len().saturating_sub(n));
        }
        let output = request.flag("output", false);
        let entry = |(count, code): &(u64, String)| {
            let cell = if output { json!([code, null]) } else { json!(code) };
            json!([SESSION, count, cell])
        };
        Ok(found.into_iter().map(entry).collect())
    }

    /// Cells `start..stop` of this session; unknown session numbers mean this session too.
    fn range(&self, request: &Request) -> Vec<&(u64, String)> {
        if request.number("session").is_some_and(|session| session < 0) {
            return vec![];
        }
        let start = request.number("start").unwrap_or(0);
        let stop = request.number("stop").unwrap_or(i64::MAX);
        let wanted = |count: u64| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            (start..stop).contains(&count)
        };
        self.cells.iter().filter(|(count, _)| wanted(*count)).collect()
    }
}

/// The expression of a shell pattern: `*` any text, `?` any character.
fn expression(pattern: &str) -> Result<Regex, String> {
    let escaped = regex::escape(pattern).replace(r"\*", ".*").replace(r"\?", ".");
    Regex::new(&format!("(?s)^{escaped}$")).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let mut history = History::default();
        for (count, code) in [(1, "let a = 1;"), (2, "a + 1"), (3, "let b = 2;"), (4, "a + 1")] {
            history.add(count, code);
        }
        history
    }

    fn counts(content: Value) -> Vec<u64> {
        let header = serde_json::from_value(json!({
            "msg_id": "1", "username": "", "session": "", "msg_type": "history_request", "version": "5.3",
        }));
        let request = Request {
            identities: vec![],
            header: header.unwrap(),
            content,
            arrived: std::time::Instant::now(),
        };
        let found = history().find(&request).unwrap();
        found.as_array().unwrap().iter().map(|entry| entry[1].as_u64().unwrap()).collect()
    }

    #[test]
    fn tail_range_and_search() {
        assert_eq!(counts(json!({"hist_access_type": "tail", "n": 2})), [3, 4]);
        assert_eq!(counts(json!({"hist_access_type": "tail", "n": -1})), [0; 0]);
        assert_eq!(
            counts(json!({"hist_access_type": "range", "session": 0, "start": 2, "stop": 4})),
            [2, 3]
        );
        assert_eq!(
            counts(json!({"hist_access_type": "search", "pattern": "let ?*", "n": 9})),
            [1, 3]
        );
        let unique = json!({"hist_access_type": "search", "pattern": "*1*", "unique": true});
        assert_eq!(counts(unique), [1, 4]);
    }

    #[test]
    fn patterns_are_shell_patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "a", false),
            ("**é?*", "caf\néx\n", true),
            (r"\w[*{", r"\w[0{", true),
            (r"\w[*{", "aw[0{", false),
        ] {
            assert_eq!(expression(pattern).unwrap().is_match(text), expected, "{pattern} {text}");
        }
    }
}
