//! Lines in the log of the program that started the kernel.

/// Writes one line to standard error, which Jupyter keeps or shows.
pub fn line(text: &str) {
    eprintln!("[qrnn-jupyter] {text}");
}
