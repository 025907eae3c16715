//! The cells of this kernel's life, for those who ask what was run.

use serde_json::{Value, json};

use crate::protocol::message::Request;

/// The kernel's own session; earlier ones are not kept.
const SESSION: i64 = 0;

#[derive(Debug, Default)]
pub struct History {
    /// Execution count and code.
    cells: Vec<(u64, String)>,
}

impl History {
    pub fn add(&mut self, count: u64, code: &str) {
        self.cells.push((count, code.to_owned()));
    }

    /// The `history` of a reply.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub fn find(&self, request: &Request) -> Result<Value, String> {
        let output = request.flag("output", false);
        let count = |name: &str| request.number(name).map(|n| usize::try_from(n).unwrap_or(0));
        let found: Vec<&(u64, String)> = match request.text("hist_access_type") {
            Some("tail") => self.last(self.cells.iter(), count("n")),
            Some("range") => self.range(request),
            Some("search") => {
                let pattern = request.text("pattern").unwrap_or("*");
                let mut found: Vec<_> =
                    self.cells.iter().filter(|(_, code)| matches(pattern, code)).collect();
                if request.flag("unique", false) {
                    let mut seen = std::collections::HashSet::new();
                    // The latest of equals stays.
                    found.reverse();
                    found.retain(|(_, code)| seen.insert(code.as_str()));
                    found.reverse();
                }
                self.last(found.into_iter(), count("n"))
            }
            other => return Err(format!("no such hist_access_type: {other:?}")),
        };
        let entry = |(count, code): &(u64, String)| {
            let cell = if output { json!([code, null]) } else { json!(code) };
            json!([SESSION, count, cell])
        };
        Ok(found.into_iter().map(entry).collect())
    }

    fn last<'a>(
        &self,
        cells: impl Iterator<Item = &'a (u64, String)>,
        n: Option<usize>,
    ) -> Vec<&'a (u64, String)> {
        let all: Vec<_> = cells.collect();
        let skip = n.map_or(0, |n| all.len().saturating_sub(n));
        all[skip..].to_vec()
    }

    /// Cells `start..stop`; session 0 is this one, and so is each that is not known.
    fn range(&self, request: &Request) -> Vec<&(u64, String)> {
        if request.number("session").is_some_and(|session| session < 0) {
            return vec![];
        }
        let start = request.number("start").unwrap_or(0);
        let stop = request.number("stop").unwrap_or(i64::MAX);
        let wanted = |count: u64| {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            count >= start && count < stop
        };
        self.cells.iter().filter(|(count, _)| wanted(*count)).collect()
    }
}

/// Shell patterns: `*` any text, `?` any character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stood, and how much it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
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
    fn the_three_ways_to_ask() {
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
    fn patterns_are_the_shells() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "a", false),
            ("**é*", "caféx", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
