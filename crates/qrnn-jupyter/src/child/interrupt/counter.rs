//! The number of interrupts, in memory that the kernel and the child process share.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::error::{Error, Result};

/// A file of 8 bytes, little-endian, that both processes map. Long work compares the number with its
/// value when the work began.
pub struct InterruptCounter {
    counter: &'static AtomicU64,
}

impl InterruptCounter {
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.map_err(Error::io(path, "create"))?;
        file.set_len(8).map_err(Error::io(path, "write"))?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping of a file of 8 bytes at an address that the system chooses.
        let mapped =
            unsafe { mmap(std::ptr::null_mut(), 8, protection, MapFlags::SHARED, &file, 0) }
                .map_err(|error| Error::io(path, "map")(error.into()))?;
        // SAFETY: page-aligned, 8 bytes, never unmapped; other processes access it atomically.
        Ok(Self { counter: unsafe { &*mapped.cast::<AtomicU64>() } })
    }

    pub fn increment(&self) {
        let next = u64::from_le(self.counter.load(Ordering::Acquire)).wrapping_add(1);
        self.counter.store(next.to_le(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("interrupts");
        let counter = InterruptCounter::create(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0; 8]);
        for _ in 0..3 {
            counter.increment();
        }
        assert_eq!(std::fs::read(&path).unwrap(), 3_u64.to_le_bytes());
        assert!(InterruptCounter::create(Path::new("/no/such/folder")).is_err());
    }
}
