//! What a command prints: text for people, or one JSON object for programs.

use std::io::{ErrorKind, Write};

use serde_json::Value;

use crate::{Error, Result, terminal};

/// The exit status of work that was interrupted, as shells have it for Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// The outcome of a command.
pub struct Output {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// 0, or [`INTERRUPTED`] where the work was, and what there is of it was kept.
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
            terminal::note(&self.text);
            terminal::print(&self.json)
        } else {
            terminal::print(&self.text)
        };
        result.map_err(Error::io("standard output", "write"))
    }
}

/// Prints a command's outcome, and gives the exit status: that of the work, or 1 where its result did
/// not reach the user.
pub fn finish(json: bool, result: Result<Output>) -> u8 {
    let done = match result {
        Ok(done) => done,
        Err(error) => {
            terminal::note(format_args!("error: {error}"));
            return error.exit_status();
        }
    };
    match done.print(json) {
        Ok(()) => done.status,
        Err(error) => {
            terminal::note(format_args!("error: {error}"));
            done.status.max(1)
        }
    }
}

/// Prints what the parser says, which is help as well as complaints, and gives the exit status.
pub fn explain(said: &clap::Error) -> u8 {
    let printed = said.print().and_then(|()| std::io::stdout().flush());
    match printed {
        Err(error) if !said.use_stderr() && error.kind() != ErrorKind::BrokenPipe => {
            let error = Error::io("standard output", "write")(error);
            terminal::note(format_args!("error: {error}"));
            1
        }
        _ => u8::try_from(said.exit_code()).unwrap_or(2),
    }
}
