//! The columns of a batch that a process trains.

use std::ops::Range;

/// The columns of a batch that a process trains: all of them, or a part in data-parallel training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchShare {
    /// Columns of the whole batch.
    pub batch: i64,
    /// Those that this process trains.
    pub columns: Range<i64>,
}

impl BatchShare {
    /// All columns of a batch.
    pub fn whole(batch: i64) -> Self {
        Self { batch, columns: 0..batch }
    }
}
