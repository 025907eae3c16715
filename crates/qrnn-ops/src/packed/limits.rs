//! Limits of the shape of a matrix.

/// The most columns of a matrix: sums of 255 · 127 a column stay below 2³¹.
pub const MAX_COLUMNS: usize = i32::MAX as usize / (255 * 127);
