//! The destination folder of a dataset, and atomic installation of its texts.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::dataset::DataFile;
use super::fetch::Fetch;
use super::verify::text_difference;
use crate::{Error, Result};

impl Fetch {
    /// Creates the folder if missing, and locks it until the result is dropped or the process dies.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Busy`] if another process is fetching into it.
    pub(super) fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.to).map_err(Error::io(&self.to, "create"))?;
        let path = self.to.join(format!(".{}.lock", self.dataset.name));
        let lock = File::create(&path).map_err(Error::io(&path, "create"))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => Err(Error::busy(
                self.to.display().to_string(),
                format!("another process is fetching {} into this folder", self.dataset.name),
                "wait for it, stop it, or choose another folder",
            )),
            Err(TryLockError::Error(error)) => Err(Error::io(&path, "lock")(error)),
        }
    }

    /// The path of the archive with a suffix.
    pub(super) fn archive_path(&self, suffix: &str) -> PathBuf {
        self.to.join(format!("{}{suffix}", self.dataset.archive.file))
    }

    fn text_folder(&self) -> PathBuf {
        self.to.join(&self.dataset.name)
    }

    /// The folder that holds all published texts already: `to` itself, or its subfolder for the dataset.
    ///
    /// # Errors
    /// [`Error::BadFile`] if the subfolder has another file with the name of a text; [`Error::Io`];
    /// [`Error::Interrupted`].
    pub(super) fn existing_texts(&self) -> Result<Option<PathBuf>> {
        for folder in [self.to.clone(), self.text_folder()] {
            let mut found = 0;
            for expected in &self.dataset.files {
                let Some(path) = existing_path(&folder, expected) else { continue };
                match text_difference(&path, expected, &self.interrupt)? {
                    None => found += 1,
                    // Unrelated data may be in the parent folder.
                    Some(_) if folder == self.to => break,
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
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// Creates an empty folder on the same disk, to unpack into.
    pub(super) fn unpack_folder(&self) -> Result<TempDir> {
        let name = format!(".{}.unpacking", self.dataset.name);
        let path = self.to.join(&name);
        // The lock is held, so an existing folder is from a killed process.
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(&path, "delete")(error));
            }
            _ => {}
        }
        let folder = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir_in(&self.to);
        folder.map_err(Error::io(&path, "create"))
    }

    /// Moves the unpacked texts to the subfolder for the dataset: all at once, or only the missing ones
    /// if the subfolder exists. Returns the subfolder.
    pub(super) fn install(&self, unpacked: &Path) -> Result<PathBuf> {
        let target = self.text_folder();
        sync_folder(unpacked);
        if target.exists() {
            for expected in &self.dataset.files {
                if existing_path(&target, expected).is_none() {
                    let path = target.join(&expected.name);
                    fs::rename(unpacked.join(&expected.name), &path)
                        .map_err(Error::io(&path, "create"))?;
                }
            }
            sync_folder(&target);
        } else {
            fs::rename(unpacked, &target).map_err(Error::io(&target, "create"))?;
        }
        sync_folder(&self.to);
        Ok(target)
    }
}

/// The path of a text under either name. The alternative name takes precedence, as for a corpus.
pub(super) fn existing_path(folder: &Path, expected: &DataFile) -> Option<PathBuf> {
    let names = expected.other_name.iter().chain([&expected.name]);
    names.map(|name| folder.join(name)).find(|path| path.exists())
}

/// Makes renames durable. Some file systems do not support it.
fn sync_folder(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}
