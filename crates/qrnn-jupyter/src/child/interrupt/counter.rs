//! The count of interrupts, in memory that the evaluation process shares.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::error::{Error, Result};

/// Where the evaluation process finds the file's path.
pub const VARIABLE: &str = "QRNN_JUPYTER_INTERRUPTS";

/// A counter of 8 bytes, little-endian, in a file that the library maps too. Long work compares it
/// with its value when the work began.
#[derive(Debug)]
pub struct Interrupts {
    counter: &'static AtomicU64,
    path: PathBuf,
}

impl Interrupts {
    /// # Errors
    /// Where the file cannot be made or mapped.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.map_err(Error::io(path, "create"))?;
        file.set_len(8).map_err(Error::io(path, "write"))?;
        // SAFETY: a fresh mapping of a file of 8 bytes at an address that the system chooses.
        let mapped = unsafe {
            mmap(
                std::ptr::null_mut(),
                8,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        }
        .map_err(|error| Error::io(path, "map")(error.into()))?;
        // SAFETY: page-aligned, 8 bytes, never unmapped; others write it as an atomic only.
        let counter = unsafe { &*mapped.cast::<AtomicU64>() };
        Ok(Self { counter, path: path.into() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One more interrupt.
    pub fn count(&self) {
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
        let interrupts = Interrupts::create(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0; 8]);
        for _ in 0..3 {
            interrupts.count();
        }
        assert_eq!(std::fs::read(&path).unwrap(), 3_u64.to_le_bytes());
        assert!(Interrupts::create(Path::new("/no/such/folder")).is_err());
    }
}
