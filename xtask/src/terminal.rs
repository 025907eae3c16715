//! Writes to standard output and standard error. `println!` and `eprintln!` would panic where these are
//! closed or full; clippy denies them (`[workspace.lints]` in Cargo.toml).

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::error::{Error, Result};

/// Writes a line to standard error; an error is ignored.
pub fn note(line: impl Display) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Writes a line of progress to standard output; an error is ignored.
pub fn show(line: impl Display) {
    let _ = print(line);
}

/// Writes a line of the result to standard output; a closed pipe is no error.
pub fn print(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
    match printed {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::io("standard output", "write")),
    }
}
