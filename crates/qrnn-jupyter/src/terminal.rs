//! The one way to write to standard output and standard error: `println!` and `eprintln!` would panic
//! where nobody reads any more. Clippy keeps them out (`[workspace.lints]` in Cargo.toml).

use std::fmt::Display;
use std::io::Write;

/// Writes a line to standard error. Where that fails, the line is lost and the work goes on.
pub fn note(line: impl Display) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Writes a line to standard output. Where that fails, the line is lost and the work goes on.
pub fn show(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}
