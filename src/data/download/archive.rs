//! Unpacks the texts of an untrusted zip archive.

use std::io::{Read, Seek};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::failure::Failure;
use super::fetch::Fetch;
use super::text_file::{TextFile, check_size};
use super::verify::text_difference;
use crate::progress::{Progress, Task, Unit};
use crate::{Error, Result};

/// Maximum entries of an archive.
const MAX_ENTRIES: usize = 1000;

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
            let mut text = TextFile::create(into, expected)?;
            self.unpack_text(&mut entry, &mut text, progress)?;
            if let Some(difference) = text_difference(text.path(), expected, &self.interrupt)? {
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
        text: &mut TextFile<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            self.interrupt.check(|| "nothing was changed".into())?;
            let read = entry.read(&mut buffer).map_err(|error| self.zip_failure(error.into()))?;
            if read == 0 {
                return Ok(text.sync()?);
            }
            // The size in the archive's directory may be wrong, and is checked again.
            text.append(&buffer[..read])?;
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
