//! The forms of a matrix in memory.

use super::bitmask::Bitmask;
use super::codes4::Codes4;
use super::dense8::Dense8;
use super::layout::Layout;

/// A matrix in memory.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Bitmask(Bitmask),
    Codes4(Codes4),
    Dense8(Dense8),
}

impl Form {
    /// Expands a group into rows of `padded` signed codes, 0 after the last column: the reference.
    pub fn decode(&self, layout: Layout, group: usize, rows: &mut [i8]) {
        match self {
            Self::Bitmask(form) => form.decode(layout, group, rows),
            Self::Codes4(form) => form.decode(layout, group, rows),
            Self::Dense8(form) => form.decode(layout, group, rows),
        }
    }
}
