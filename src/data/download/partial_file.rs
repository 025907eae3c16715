//! A download that is not complete: its bytes, and a note of where they come from.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::format::megabytes;
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// `<archive>.part`, to which bytes are added.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// What is known of the file that these bytes belong to.
    pub origin: Origin,
    /// Bytes of several answers are in it: they may belong to different files.
    pub pieced: bool,
}

/// The note beside a part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// Where the latest bytes came from.
    pub url: String,
    /// The server's tag of these very bytes.
    pub tag: Option<String>,
    /// Size of the whole file.
    pub total: Option<u64>,
}

impl Part {
    /// Opens what an earlier attempt left, or begins.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: PathBuf) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(&path);
        let file = file.map_err(Error::io(&path, "write"))?;
        let bytes = file.metadata().map_err(Error::io(&path, "read"))?.len();
        // Without a note, or with a spoilt one, the sum at the end tells what the bytes are worth.
        let origin = std::fs::read(note(&path)).ok();
        let origin = origin.and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default();
        Ok(Self { path, file, bytes, origin, pieced: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// "12.3 MB are kept in …".
    pub fn kept(&self) -> String {
        format!("{} are kept in {}", megabytes(self.bytes), self.path.display())
    }

    /// Notes what the bytes to come belong to.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Fetch`] where the disk is full.
    pub fn comes_from(&mut self, origin: Origin) -> Result<()> {
        if self.origin == origin {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&origin)
            .map_err(|error| Error::io(note(&self.path), "write")(error.into()))?;
        self.origin = origin;
        atomic_file::write(note(&self.path), &bytes).map_err(|error| self.refused(error))
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Fetch`] where the disk is full; what was written before stays.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Some of it may have been written.
                self.bytes = self.file.metadata().map_or(self.bytes, |data| data.len());
                Err(self.refused(error))
            }
        }
    }

    fn refused(&self, error: std::io::Error) -> Error {
        use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Error::Fetch {
                what: self.path.display().to_string(),
                problem: format!("there is no room ({error}); {}", self.kept()),
                remedy:
                    "free about 1 GB and run the command again: it goes on from there; or name \
                         another folder with --to"
                        .into(),
            },
            _ => Error::io(&self.path, "write")(error),
        }
    }

    /// Throws the bytes away.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin_anew(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io(&self.path, "write"))?;
        (self.bytes, self.pieced, self.origin) = (0, false, Origin::default());
        Ok(())
    }

    /// Renames the bytes, the note is deleted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_aside(self, path: &Path) -> Result<()> {
        std::fs::rename(&self.path, path).map_err(Error::io(path, "write"))?;
        delete(&note(&self.path))
    }

    /// Deletes bytes and note.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn delete(self) -> Result<()> {
        delete(&self.path)?;
        delete(&note(&self.path))
    }
}

fn note(part: &Path) -> PathBuf {
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
