//! The token ids of a split, in memory or memory-mapped.

use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

/// The token ids of a split. Dereferences to a slice.
pub(super) enum Ids {
    Read(Vec<u32>),
    /// A byte range of a memory-mapped file.
    Mapped(Arc<Mmap>, Range<usize>),
}

impl Ids {
    /// Ids in a byte range of a file; `None` if the range is outside it or not a whole number of `u32`s.
    pub(super) fn mapped(file: &Arc<Mmap>, range: Range<usize>) -> Option<Self> {
        bytemuck::try_cast_slice::<u8, u32>(file.get(range.clone())?).ok()?;
        Some(Self::Mapped(file.clone(), range))
    }
}

impl Deref for Ids {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Self::Read(ids) => ids,
            // Cannot panic: `mapped` has tried the same cast.
            Self::Mapped(file, range) => bytemuck::cast_slice(&file[range.clone()]),
        }
    }
}
