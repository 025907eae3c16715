//! How kernels read a form.

use super::layout::Layout;

/// A form whose groups are read word by word.
pub(super) trait Packed {
    /// Pointers to the next word. From any place that a word starts at, as many bytes may be read as
    /// a word has at most.
    type Cursor;

    /// The words of the groups from this one on, accumulator by accumulator.
    fn cursor(&self, layout: Layout, group: usize) -> Self::Cursor;
}
