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
    /// Ids from these bytes of a file; `None` if they are not a whole number of aligned `u32`s.
    pub(super) fn mapped(file: &Arc<Mmap>, bytes: &[u8]) -> Option<Self> {
        bytemuck::try_cast_slice::<u8, u32>(bytes).ok()?;
        let start = (bytes.as_ptr() as usize).checked_sub(file.as_ptr() as usize)?;
        Some(Self::Mapped(file.clone(), start..start + bytes.len()))
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
