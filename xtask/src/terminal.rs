//! The one way to write to standard output and standard error: `println!` and `eprintln!` would panic
//! where nobody reads any more. Clippy keeps them out (`[workspace.lints]` in Cargo.toml).

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::error::{Error, Result};

/// Writes a line to standard error. Where that fails, the line is lost and the work goes on.
pub fn note(line: impl Display) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Writes a line to standard output, for whoever follows the work. Where that fails, the line is lost
/// and the work goes on.
pub fn show(line: impl Display) {
    let _ = print(line);
}

/// Writes a result and a line's end to standard output; that a reader has gone away is no error.
///
/// # Errors
/// [`Error::Io`] where for example the disk is full.
pub fn print(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::io("standard output", "write")),
    }
}
