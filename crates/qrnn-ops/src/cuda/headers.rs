//! Headers that several kernel files include.

/// Helpers of kernels with one thread per (batch column, feature).
pub const COLUMN: (&str, &str) = ("column.cuh", include_str!("../../kernels/column.cuh"));

/// Reductions over the threads of a block.
pub const BLOCK: (&str, &str) = ("block.cuh", include_str!("../../kernels/block.cuh"));
