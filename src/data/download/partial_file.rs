//! An incomplete download: its bytes, and their source in a JSON file.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::format::megabytes;
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// The file `<name>.part`, to which received bytes are appended.
pub(super) struct PartialFile {
    path: PathBuf,
    file: File,
    pub source: Source,
    /// Whether the bytes are from several responses, and so possibly from different files.
    pub spliced: bool,
    /// Bytes received since the file was opened.
    pub received: u64,
}

/// The source of a partial file, stored as `<name>.part.json`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub fn open(path: PathBuf) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let file = file.map_err(Error::io(&path, "write"))?;
        // If the source is missing or damaged, the final checksum still verifies the bytes.
        let source = fs::read(source_path(&path)).ok();
        let source = source.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        let mut part = Self { path, file, source, spliced: false, received: 0 };
        part.spliced = part.bytes() > 0;
        Ok(part)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |data| data.len())
    }

    /// Stores the source of the next bytes.
    pub fn set_source(&mut self, source: Source) -> Result<()> {
        if self.source != source {
            let path = source_path(&self.path);
            let json = serde_json::to_vec(&source).map_err(std::io::Error::from);
            json.and_then(|json| atomic_file::write(&path, &json))
                .map_err(Error::io(&path, "write"))?;
            self.source = source;
        }
        Ok(())
    }

    /// Appends bytes. On an error, earlier bytes are preserved.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.received += bytes.len() as u64;
        self.file.write_all(bytes).map_err(Error::io(&self.path, "write"))
    }

    /// Discards all bytes.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io(&self.path, "write"))?;
        (self.spliced, self.source) = (false, Source::default());
        Ok(())
    }

    /// Deletes the file and its source, as far as they exist.
    pub fn delete(&self) -> Result<()> {
        delete(&self.path)
    }
}

impl Drop for PartialFile {
    /// Deletes a file without bytes, which would look like the beginning of a download.
    fn drop(&mut self) {
        if self.bytes() == 0 {
            let _ = self.delete();
        }
    }
}

/// Adds to an error what is saved.
pub(super) fn explain(parts: &[PartialFile], error: Error) -> Error {
    let bytes = parts.iter().map(PartialFile::bytes).sum();
    let paths = parts.iter().filter(|part| part.bytes() > 0);
    let paths: Vec<_> = paths.map(|part| part.path.display().to_string()).collect();
    let saved = match bytes {
        0 => "nothing is saved yet; the same command starts again".to_owned(),
        bytes => format!(
            "{} are saved in {}; the same command resumes from there",
            megabytes(bytes),
            paths.join(", ")
        ),
    };
    match error {
        Error::Interrupted { .. } => Error::Interrupted { saved },
        Error::Io { path, source, .. } => Error::Fetch {
            what: path.display().to_string(),
            problem: match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                    format!("there is no space left ({source}); {saved}")
                }
                _ => format!("cannot write to the disk ({source}); {saved}"),
            },
            remedy: "check the disk (downloads and texts take about 1 GB) and run the command \
                     again, or choose another folder"
                .into(),
        },
        other => other,
    }
}

/// Deletes a partial file and its source, as far as they exist.
pub(super) fn delete(part: &Path) -> Result<()> {
    for path in [part, &source_path(part)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(path, "delete")(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn source_path(part: &Path) -> PathBuf {
    part.with_added_extension("json")
}
