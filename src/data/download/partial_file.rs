//! An incomplete download: its bytes, and their source in a JSON file.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::format::megabytes;
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// The file `<archive>.part`, to which received bytes are appended.
pub(super) struct PartialFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// The source of the bytes.
    pub source: Source,
    /// Whether the bytes are from several responses, and so possibly from different files.
    pub spliced: bool,
}

/// The source of a partial file, stored as `<archive>.part.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// The URL of the latest bytes.
    pub url: String,
    /// The strong ETag of the file.
    pub tag: Option<String>,
    /// Size of the complete file, in bytes.
    pub total: Option<u64>,
}

impl PartialFile {
    /// Opens the partial file of an earlier attempt, or creates one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: PathBuf) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(&path);
        let file = file.map_err(Error::io(&path, "write"))?;
        let bytes = file.metadata().map_err(Error::io(&path, "read"))?.len();
        // If the source is missing or damaged, the final checksum still verifies the bytes.
        let source = std::fs::read(source_path(&path)).ok();
        let source = source.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        Ok(Self { path, file, bytes, source, spliced: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// For messages: "12.3 MB are saved in …".
    pub fn saved_message(&self) -> String {
        format!("{} are saved in {}", megabytes(self.bytes), self.path.display())
    }

    /// Stores the source of the next bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Fetch`] if the disk is full.
    pub fn set_source(&mut self, source: Source) -> Result<()> {
        if self.source == source {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&source)
            .map_err(|error| Error::io(source_path(&self.path), "write")(error.into()))?;
        self.source = source;
        atomic_file::write(source_path(&self.path), &bytes).map_err(|error| self.write_error(error))
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Fetch`] if the disk is full. Earlier bytes are preserved.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Some of the bytes may have been written.
                self.bytes = self.file.metadata().map_or(self.bytes, |data| data.len());
                Err(self.write_error(error))
            }
        }
    }

    fn write_error(&self, error: std::io::Error) -> Error {
        use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Error::Fetch {
                what: self.path.display().to_string(),
                problem: format!("there is no space left ({error}); {}", self.saved_message()),
                remedy:
                    "free about 1 GB and run the command again, which resumes the download; or \
                         choose another folder"
                        .into(),
            },
            _ => Error::io(&self.path, "write")(error),
        }
    }

    /// Discards all bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io(&self.path, "write"))?;
        (self.bytes, self.spliced, self.source) = (0, false, Source::default());
        Ok(())
    }

    /// Renames the file and deletes its source.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rename_to(self, path: &Path) -> Result<()> {
        std::fs::rename(&self.path, path).map_err(Error::io(path, "write"))?;
        delete(&source_path(&self.path))
    }

    /// Deletes the file and its source.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn delete(self) -> Result<()> {
        delete(&self.path)?;
        delete(&source_path(&self.path))
    }
}

fn source_path(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

fn delete(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path, "delete")(error)),
        _ => Ok(()),
    }
}
