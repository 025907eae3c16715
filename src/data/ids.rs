//! The ids of a split: in memory, or in a file that is mapped.

use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

/// A split's ids, read as a slice.
pub(super) enum Ids {
    Read(Vec<u32>),
    /// The bytes of a mapped file that hold them.
    Mapped(Arc<Mmap>, Range<usize>),
}

impl Ids {
    /// Ids in a part of a file; `None` where the part lies outside it or is no whole `u32`s.
    pub(super) fn mapped(file: &Arc<Mmap>, place: Range<usize>) -> Option<Self> {
        bytemuck::try_cast_slice::<u8, u32>(file.get(place.clone())?).ok()?;
        Some(Self::Mapped(file.clone(), place))
    }
}

impl Deref for Ids {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Self::Read(ids) => ids,
            // Tried when it was made, so that it holds.
            Self::Mapped(file, place) => bytemuck::cast_slice(&file[place.clone()]),
        }
    }
}
