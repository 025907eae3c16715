//! The two channels between a cell and our Jupyter kernel: interrupts in, live displays out.
//!
//! The kernel gives the process that runs the cells an environment variable,
//! `QRNN_JUPYTER_INTERRUPTS`, which names a file of 8 bytes: a little-endian count of the interrupts
//! asked for so far. A cell that finds no such variable is not run by our kernel.
//!
//! What is to be shown while a cell runs goes to standard output as lines of their own: U+001E,
//! `qrnn-jupyter `, and a JSON object with the type and the content of a Jupyter message.

use std::path::PathBuf;

/// Names the file with the count of interrupts.
const INTERRUPTS: &str = "QRNN_JUPYTER_INTERRUPTS";

/// Begins a line that the kernel takes for a message.
pub(super) const MESSAGE: &str = "\u{1e}qrnn-jupyter ";

/// The file with the count of interrupts, where our kernel runs this process.
pub fn interrupts() -> Option<PathBuf> {
    std::env::var_os(INTERRUPTS).filter(|path| !path.is_empty()).map(PathBuf::from)
}
