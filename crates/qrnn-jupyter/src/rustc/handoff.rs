//! Files in the workdir by which the kernel and the wrapper inform each other.

/// Warnings of the last compilation, one JSON object a line.
pub const WARNINGS: &str = "warnings";

/// Variables that a cell binds again without reading them, one a line.
pub const UNTOUCHED: &str = "untouched";

/// Variables that the kernel drops without naming their types, one a line.
pub const DISCARDED: &str = "discarded";
