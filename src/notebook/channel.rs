//! The protocol between a cell and our Jupyter kernel: interrupts in, live displays out.
//!
//! The kernel sets the environment variable `QRNN_JUPYTER_INTERRUPTS` of the process that runs the cells
//! to the path of a file of 8 bytes: the number of interrupts so far, little-endian. A second file, with
//! `.noticed` after its name, has the same form: the number when the cell began, or when a call last
//! responded. Without the variable, the cell is not run by our kernel.
//!
//! A live display is written to standard output as a line with U+001E, `qrnn-jupyter ` and a JSON object
//! with the type and the content of a Jupyter message.

use std::path::{Path, PathBuf};

/// The environment variable with the path of the interrupt counter.
const INTERRUPTS: &str = "QRNN_JUPYTER_INTERRUPTS";

/// The prefix of a line that the kernel interprets as a message.
pub(super) const MESSAGE: &str = "\u{1e}qrnn-jupyter ";

/// The path of the interrupt counter, if our kernel runs this process.
pub fn interrupts() -> Option<PathBuf> {
    std::env::var_os(INTERRUPTS).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The path of the number of interrupts that calls have noticed.
pub fn noticed(counter: &Path) -> PathBuf {
    let mut path = counter.as_os_str().to_owned();
    path.push(".noticed");
    path.into()
}
