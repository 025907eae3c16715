//! The destination folder of a dataset, and atomic installation of its texts.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::checksums::{FileHasher, hash_file};
use super::dataset::{DataFile, Dataset};
use crate::interrupt::Interrupt;
use crate::{Error, Result};

/// The folder that a dataset is downloaded to, locked for this process until dropped.
pub(super) struct Destination<'a> {
    dataset: &'a Dataset,
    folder: PathBuf,
    /// The operating system releases it if the process is killed.
    _lock: File,
}

/// The texts that are already in the folder.
pub(super) enum ExistingTexts {
    /// All published texts, in this folder.
    Complete(PathBuf),
    /// Some are missing, and no other file has the name of one.
    Incomplete,
}

impl<'a> Destination<'a> {
    /// Opens and locks the folder; creates it and its parents if missing.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Busy`] if another process is fetching into it.
    pub fn open(dataset: &'a Dataset, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        let path = folder.join(format!(".{}.lock", dataset.name));
        let lock = File::create(&path).map_err(Error::io(&path, "create"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dataset, folder: folder.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::busy(
                folder.display().to_string(),
                format!("another process is fetching {} into this folder", dataset.name),
                "wait for it, stop it, or choose another folder",
            )),
            Err(TryLockError::Error(error)) => Err(Error::io(&path, "lock")(error)),
        }
    }

    /// The path where users put an archive that they downloaded themselves.
    pub fn archive_path(&self) -> PathBuf {
        self.folder.join(&self.dataset.archive.file)
    }

    /// The path of the archive with a suffix.
    pub fn archive_path_with(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}{suffix}", self.dataset.archive.file))
    }

    /// The folder of the texts.
    fn text_folder(&self) -> PathBuf {
        self.folder.join(&self.dataset.name)
    }

    /// Looks for the texts in the folder itself and in its subfolder for the dataset.
    ///
    /// # Errors
    /// [`Error::BadFile`] if the subfolder has another file with the name of a text; [`Error::Io`];
    /// [`Error::Interrupted`].
    pub fn find_texts(&self, interrupt: &Interrupt) -> Result<ExistingTexts> {
        for folder in [&self.folder, &self.text_folder()] {
            let is_parent = *folder == self.folder;
            let mut found = 0;
            for expected in &self.dataset.files {
                let Some(path) = existing_path(folder, expected) else { continue };
                match difference(&path, expected, interrupt)? {
                    None => found += 1,
                    // Unrelated data may be in the parent folder.
                    Some(_) if is_parent => break,
                    Some(difference) => {
                        return Err(Error::bad_file(
                            &path,
                            format!("is not the published text: {difference}"),
                            "move it away, or choose another folder",
                        ));
                    }
                }
            }
            if found == self.dataset.files.len() {
                return Ok(ExistingTexts::Complete(folder.clone()));
            }
        }
        Ok(ExistingTexts::Incomplete)
    }

    /// Creates an empty folder on the same disk, to unpack into.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_unpack_folder(&self) -> Result<UnpackFolder> {
        let path = self.folder.join(format!(".{}.unpacking", self.dataset.name));
        // The lock is held, so an existing folder is from a killed process.
        let unpacking = UnpackFolder(path);
        unpacking.clear().map_err(Error::io(&unpacking.0, "delete"))?;
        fs::create_dir(&unpacking.0).map_err(Error::io(&unpacking.0, "create"))?;
        Ok(unpacking)
    }

    /// Moves the unpacked texts to the subfolder for the dataset: all at once, or only the missing ones
    /// if the subfolder exists. Returns the subfolder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn install(&self, unpacking: &UnpackFolder) -> Result<PathBuf> {
        let target = self.text_folder();
        sync_folder(&unpacking.0);
        if target.exists() {
            for expected in &self.dataset.files {
                if existing_path(&target, expected).is_none() {
                    let path = target.join(&expected.name);
                    fs::rename(unpacking.0.join(&expected.name), &path)
                        .map_err(Error::io(&path, "create"))?;
                }
            }
            sync_folder(&target);
        } else {
            fs::rename(&unpacking.0, &target).map_err(Error::io(&target, "create"))?;
        }
        sync_folder(&self.folder);
        Ok(target)
    }
}

/// A temporary folder, deleted on drop.
pub(super) struct UnpackFolder(PathBuf);

impl UnpackFolder {
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn clear(&self) -> std::io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for UnpackFolder {
    fn drop(&mut self) {
        // On failure, the next fetch deletes the folder or reports the error.
        let _ = self.clear();
    }
}

/// The path of a text under either name. The alternative name takes precedence, as for a corpus.
pub(super) fn existing_path(folder: &Path, expected: &DataFile) -> Option<PathBuf> {
    let names = expected.other_name.iter().chain([&expected.name]);
    names.map(|name| folder.join(name)).find(|path| path.exists())
}

/// Describes the difference between a file and the published text.
fn difference(path: &Path, expected: &DataFile, interrupt: &Interrupt) -> Result<Option<String>> {
    let data = fs::metadata(path).map_err(Error::io(path, "read"))?;
    if !data.is_file() {
        return Ok(Some("it is not a file".into()));
    }
    // A wrong size saves the computation of the checksum.
    let size_matches =
        expected.bytes.map_or(data.len() <= expected.max_bytes, |bytes| data.len() == bytes);
    if !size_matches {
        let bytes = expected.bytes.unwrap_or(expected.max_bytes);
        return Ok(Some(format!("it has {} bytes, not {bytes}", data.len())));
    }
    Ok(hash_file(path, FileHasher::of_text(expected), interrupt)?.difference(expected))
}

/// Makes renames durable. Some file systems do not support it.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
