//! A text of the corpus while it is unpacked or restored.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::dataset::DataFile;
use super::failure::Failure;
use crate::format::megabytes;
use crate::{Error, Result};

/// Bytes written between two syncs. Keeps the final sync, which cannot be interrupted, short.
const SYNC_INTERVAL: u64 = 8 << 20;

/// A new file for a text, of limited size.
pub(super) struct TextFile<'a> {
    path: PathBuf,
    file: File,
    expected: &'a DataFile,
    bytes: u64,
    synced: u64,
}

impl<'a> TextFile<'a> {
    /// Creates the file, which must not exist, under its published name.
    pub fn create(folder: &Path, expected: &'a DataFile) -> Result<Self> {
        let path = folder.join(&expected.name);
        let file = File::create_new(&path).map_err(Error::io(&path, "create"))?;
        Ok(Self { path, file, expected, bytes: 0, synced: 0 })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends bytes, unless the text gets larger than the published one.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        check_size(self.expected, self.bytes)?;
        self.file.write_all(bytes).map_err(Error::io(&self.path, "write"))?;
        if self.bytes - self.synced >= SYNC_INTERVAL {
            self.sync()?;
        }
        Ok(())
    }

    /// Writes everything to the disk.
    pub fn sync(&mut self) -> Result<()> {
        self.synced = self.bytes;
        self.file.sync_all().map_err(Error::io(&self.path, "write"))
    }
}

/// # Errors
/// [`Failure::Permanent`] if a text of this size is larger than the published one.
pub(super) fn check_size(expected: &DataFile, bytes: u64) -> Result<(), Failure> {
    if bytes <= expected.max_bytes {
        return Ok(());
    }
    Err(Failure::permanent(format!(
        "its {} has {} or more; the published one has at most {}",
        expected.name,
        megabytes(bytes),
        megabytes(expected.max_bytes)
    )))
}
