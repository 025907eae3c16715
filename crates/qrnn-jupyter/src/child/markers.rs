//! Texts by which the child process, the preloaded library and the kernel recognize each other.

/// The start of a marker line on standard output; a JSON object follows. The preloaded library has
/// the same constant.
pub const MARK: &str = "\u{1e}qrnn-jupyter ";

/// Among the lines for evcxr: the cell did not run, because a variable has another type now.
pub const REFUSED: &str = "QRNN_JUPYTER_REFUSED";

/// evcxr's line for a cell that ended with an error or by `?`.
pub const ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";

/// evcxr's line for a panic.
pub const PANIC: &str = "EVCXR_PANIC_NOTIFICATION";
