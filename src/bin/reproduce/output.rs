//! What a command prints: text for people, or one JSON object for programs.

use std::io::Write;

use qrnn::{Error, Result};
use serde_json::Value;

/// The outcome of a command.
pub struct Output {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// 0, or 130 where the work was interrupted and saved.
    pub status: u8,
}

impl Output {
    /// The outcome of work that was done to its end.
    pub fn done(text: impl ToString, json: Value) -> Self {
        Self { text: text.to_string(), json, status: 0 }
    }

    /// Prints to standard output; with `json`, the object is its last line and all else goes to
    /// standard error.
    ///
    /// # Errors
    /// [`Error::Io`], but for a reader that has gone away.
    pub fn print(&self, json: bool) -> Result<()> {
        let result = if json {
            eprintln!("{}", self.text);
            writeln!(std::io::stdout(), "{}", self.json)
        } else {
            writeln!(std::io::stdout(), "{}", self.text)
        };
        match result {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(Error::io("standard output", "write")),
        }
    }
}
