//! The number of interrupts, in memory that the kernel and the child process share.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::error::{Error, Result};

/// Two files of 8 bytes, little-endian, that both processes share: the number of interrupts so far, and
/// with `.noticed` after its name, how many of them need no response any more. Long work stops when the
/// first exceeds what the second was when the work began.
pub struct InterruptCounter {
    count: &'static AtomicU64,
    noticed: &'static AtomicU64,
}

impl InterruptCounter {
    pub fn create(path: &Path) -> Result<Self> {
        let mut noticed = path.as_os_str().to_owned();
        noticed.push(".noticed");
        Ok(Self { count: shared_number(path)?, noticed: shared_number(noticed.as_ref())? })
    }

    pub fn increment(&self) {
        let next = u64::from_le(self.count.load(Ordering::Acquire)).wrapping_add(1);
        self.count.store(next.to_le(), Ordering::Release);
    }

    /// A cell begins: earlier interrupts were meant for earlier cells.
    pub fn begin_cell(&self) {
        self.noticed.store(self.count.load(Ordering::Acquire), Ordering::Release);
    }
}

/// Creates a file of 8 zero bytes and maps it.
fn shared_number(path: &Path) -> Result<&'static AtomicU64> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
    let file = file.map_err(Error::io(path, "create"))?;
    file.set_len(8).map_err(Error::io(path, "write"))?;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping of a file of 8 bytes at an address that the system chooses.
    let mapped = unsafe { mmap(std::ptr::null_mut(), 8, protection, MapFlags::SHARED, &file, 0) }
        .map_err(|error| Error::io(path, "map")(error.into()))?;
    // SAFETY: page-aligned, 8 bytes, never unmapped; other processes access it atomically.
    Ok(unsafe { &*mapped.cast::<AtomicU64>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_hold_the_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("interrupts");
        let counter = InterruptCounter::create(&path).unwrap();
        let noticed = || std::fs::read(folder.path().join("interrupts.noticed")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0; 8]);
        for _ in 0..3 {
            counter.increment();
        }
        assert_eq!(std::fs::read(&path).unwrap(), 3_u64.to_le_bytes());
        assert_eq!(noticed(), [0; 8]);
        counter.begin_cell();
        assert_eq!(noticed(), 3_u64.to_le_bytes());
        assert!(InterruptCounter::create(Path::new("/no/such/folder")).is_err());
    }
}
