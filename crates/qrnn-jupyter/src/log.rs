//! Lines in the log of the program that started the kernel.

use crate::terminal;

/// Writes one line to standard error, which Jupyter keeps or shows.
pub fn line(text: &str) {
    terminal::note(format_args!("[qrnn-jupyter] {text}"));
}
