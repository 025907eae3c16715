//! Output of a command, as text or as one JSON object.

use std::io::{ErrorKind, Write};

use serde_json::Value;

use super::flags::with_flags;
use crate::{Error, Result, terminal};

/// Exit status of interrupted work: 128 + SIGINT, as in shells.
pub const INTERRUPTED: u8 = 130;

/// Result of a command.
pub struct Output {
    /// Human-readable text.
    pub text: String,
    /// Object for `--json`.
    pub json: Value,
    /// Exit status: 0, or [`INTERRUPTED`] if the work was interrupted and saved.
    pub status: u8,
}

impl Output {
    /// Result of finished work, with exit status 0.
    pub fn done(text: impl ToString, json: Value) -> Self {
        Self { text: text.to_string(), json, status: 0 }
    }

    /// The same exit status, for a process whose results another one prints.
    pub fn silent(self) -> Self {
        Self { text: String::new(), json: Value::Null, status: self.status }
    }

    /// Prints the text to standard output; with `json`, prints the object there and the text to standard
    /// error.
    ///
    /// # Errors
    /// [`Error::Io`], except for a closed pipe.
    pub fn print(&self, json: bool) -> Result<()> {
        if self.text.is_empty() && self.json.is_null() {
            return Ok(());
        }
        let result = if json {
            terminal::note(&self.text);
            terminal::print(&self.json)
        } else {
            terminal::print(&self.text)
        };
        result.map_err(Error::io("standard output", "write"))
    }
}

/// Prints the result of a command and returns the exit status; at least 1 if the result could not be
/// printed.
pub fn finish(json: bool, result: Result<Output>) -> u8 {
    let output = match result {
        Ok(output) => output,
        Err(error) => {
            terminal::error(with_flags(&error.to_string()));
            return exit_status(&error);
        }
    };
    match output.print(json) {
        Ok(()) => output.status,
        Err(error) => {
            terminal::error(error);
            output.status.max(1)
        }
    }
}

/// Exit status for an error: 1 if the work failed, 2 if the input is invalid or not available, 130 if
/// interrupted.
pub fn exit_status(error: &Error) -> u8 {
    match error {
        Error::Interrupted { .. } => INTERRUPTED,
        Error::Config { .. }
        | Error::Mismatch { .. }
        | Error::Busy { .. }
        | Error::BadFile { .. }
        | Error::Io { .. }
        | Error::Unavailable { .. } => 2,
        Error::Memory { .. }
        | Error::Fetch { .. }
        | Error::Diverged { .. }
        | Error::NotFinite { .. }
        | Error::Plot { .. }
        | Error::Ops(
            qrnn_ops::Error::Torch(_)
            | qrnn_ops::Error::Cuda { .. }
            | qrnn_ops::Error::Group { .. },
        ) => 1,
        Error::Ops(_) => 2,
    }
}

/// Prints clap's message, an error or the requested help, and returns the exit status.
pub fn print_clap_error(message: &clap::Error) -> u8 {
    let printed = message.print().and_then(|()| std::io::stdout().flush());
    match printed {
        Err(error) if !message.use_stderr() && error.kind() != ErrorKind::BrokenPipe => {
            let error = Error::io("standard output", "write")(error);
            terminal::note(format_args!("error: {error}"));
            1
        }
        _ => u8::try_from(message.exit_code()).unwrap_or(2),
    }
}
