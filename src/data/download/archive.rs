//! Unpacks the texts of an untrusted zip archive.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::dataset::DataFile;
use super::failure::Failure;
use super::fetch::Fetch;
use super::verify::text_difference;
use crate::format::megabytes;
use crate::progress::{Progress, Task, Unit};
use crate::{Error, Result};

/// Maximum entries of an archive.
const MAX_ENTRIES: usize = 1000;

/// Bytes written between two syncs. Keeps the final sync, which cannot be interrupted, short.
const SYNC_INTERVAL: u64 = 8 << 20;

impl Fetch {
    /// Unpacks only the dataset's files into the existing folder `into`, synced to disk, and verifies
    /// each of them.
    ///
    /// # Errors
    /// [`Failure::Permanent`] if an entry has an unsafe path, is a link, encrypted or too large, or if a
    /// file is missing, duplicate, damaged or not the published one; [`Failure::Fatal`] for disk errors
    /// and interrupts. Files unpacked so far stay in `into`.
    pub(super) fn unpack_texts(
        &self,
        archive: impl Read + Seek,
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let zip_failure = |error| self.zip_failure(error);
        let mut zip = ZipArchive::new(archive).map_err(|error| match error {
            ZipError::Io(_) => zip_failure(error),
            _ => Failure::permanent("it is not a complete zip archive"),
        })?;
        if zip.len() > MAX_ENTRIES {
            return Err(Failure::permanent(format!("it lists {} files", zip.len())));
        }
        let files = &self.dataset.files;
        let mut indices = vec![None; files.len()];
        let mut bytes = 0;
        for i in 0..zip.len() {
            let entry = zip.by_index_raw(i).map_err(zip_failure)?;
            let name = entry.name();
            let problem = match unsafe_path(name, entry.name_raw()) {
                None if entry.is_symlink() => Some("is a link"),
                None if entry.encrypted() => Some("is encrypted"),
                problem => problem,
            };
            if let Some(problem) = problem {
                return Err(Failure::permanent(format!("{name:?} {problem}")));
            }
            let file_name = name.rsplit('/').next();
            if let Some(at) = files.iter().position(|file| Some(&*file.name) == file_name) {
                if indices[at].replace(i).is_some() {
                    return Err(Failure::permanent(format!("has {} twice", files[at].name)));
                }
                check_size(&files[at], entry.size())?;
                bytes += entry.size();
            }
        }
        let label = "unpacking".into();
        progress.start(&Task { label, unit: Unit::Bytes, done: 0, total: Some(bytes) });
        for (expected, index) in files.iter().zip(indices) {
            let name = &expected.name;
            let index = index.ok_or_else(|| Failure::permanent(format!("has no {name}")))?;
            let mut entry = zip.by_index(index).map_err(zip_failure)?;
            let path = into.join(name);
            self.unpack_text(&mut entry, expected, &path, progress)?;
            if let Some(difference) = text_difference(&path, expected, &self.interrupt)? {
                return Err(Failure::permanent(format!(
                    "its {name} is not the published text: {difference}"
                )));
            }
        }
        Ok(())
    }

    fn unpack_text(
        &self,
        entry: &mut impl Read,
        expected: &DataFile,
        path: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let mut file = File::create_new(path).map_err(Error::io(path, "create"))?;
        let mut buffer = vec![0; 1 << 20];
        let (mut done, mut synced) = (0, 0);
        loop {
            self.interrupt.check(|| "nothing was changed".into())?;
            let read = entry.read(&mut buffer).map_err(|error| self.zip_failure(error.into()))?;
            done += read as u64;
            // The size in the archive's directory may be wrong.
            check_size(expected, done)?;
            file.write_all(&buffer[..read]).map_err(Error::io(path, "write"))?;
            if read == 0 || done - synced >= SYNC_INTERVAL {
                file.sync_all().map_err(Error::io(path, "write"))?;
                synced = done;
            }
            if read == 0 {
                return Ok(());
            }
            progress.advance(read as u64);
        }
    }

    /// Distinguishes disk errors from damaged archives.
    fn zip_failure(&self, error: ZipError) -> Failure {
        match error {
            ZipError::Io(error) if error.raw_os_error().is_some() => {
                Error::io(self.archive_path(""), "read")(error).into()
            }
            error => Failure::permanent(format!("it is damaged: {error}")),
        }
    }
}

fn check_size(expected: &DataFile, bytes: u64) -> Result<(), Failure> {
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

/// What is wrong with a name that is unsafe on any operating system.
fn unsafe_path(name: &str, raw: &[u8]) -> Option<&'static str> {
    if name.starts_with(['/', '\\']) || name.as_bytes().get(1) == Some(&b':') {
        Some("is an absolute path")
    } else if name.split(['/', '\\']).any(|component| component == "..") {
        Some("leads outside of the archive")
    } else if name.contains('\\') || raw.contains(&0) {
        Some("is not a valid path in a zip archive")
    } else {
        None
    }
}
