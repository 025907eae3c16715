//! Headers that several kernel files include.

/// A kernel that gives each column of a tensor a thread.
pub const COLUMN: (&str, &str) = ("column.cuh", include_str!("../../kernels/column.cuh"));

/// Sums over the threads of a block.
pub const BLOCK: (&str, &str) = ("block.cuh", include_str!("../../kernels/block.cuh"));
