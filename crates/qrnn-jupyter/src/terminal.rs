//! Writing to standard output and standard error. `println!` and `eprintln!` panic if nobody reads
//! the other end, so clippy forbids them (`[workspace.lints]` in Cargo.toml). Here a failed write
//! loses the line and nothing else.

use std::fmt::Display;
use std::io::Write;

/// Writes a line to standard error.
pub fn eprint(line: impl Display) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Writes a line to standard output.
pub fn print(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to the log: standard error, which Jupyter shows or keeps.
pub fn log(line: impl Display) {
    eprint(format_args!("[qrnn-jupyter] {line}"));
}
