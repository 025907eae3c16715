//! Environment variables by which the kernel's processes find each other.

/// Set for cargo's children: this program runs as the rustc wrapper.
pub const WRAPPER: &str = "QRNN_JUPYTER_COMPILER";

/// Path of the preloaded library.
pub const PRELOAD: &str = "QRNN_JUPYTER_PRELOAD";

/// Path of the file with the interrupt counter. It also marks every process that a cell starts.
pub const INTERRUPTS: &str = "QRNN_JUPYTER_INTERRUPTS";
