//! Where a dataset lies, and how it gets there whole.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::checksums::{Taker, of_file};
use super::dataset::{DataFile, Dataset};
use crate::interrupt::Interrupt;
use crate::{Error, Result};

/// The folder that a dataset is fetched to, this process's alone while this value lives.
pub(super) struct Place<'a> {
    dataset: &'a Dataset,
    folder: PathBuf,
    /// Held until dropped; the system gives it up for a process that was killed.
    _lock: File,
}

/// What lies there.
pub(super) enum Found {
    /// All texts, as published, in this folder.
    Whole(PathBuf),
    /// Not all of them, and nothing that is in their way.
    Wanting,
}

impl<'a> Place<'a> {
    /// Opens the folder, which is made where there is none, its parents too.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Usage`] where another process is fetching into it.
    pub fn open(dataset: &'a Dataset, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        let path = folder.join(format!(".{}.lock", dataset.name));
        let lock = File::create(&path).map_err(Error::io(&path, "create"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dataset, folder: folder.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::usage(
                format!("--to {}", folder.display()),
                format!("another process is fetching {} into this folder", dataset.name),
                "wait for it, stop it, or name another folder",
            )),
            Err(TryLockError::Error(error)) => Err(Error::io(&path, "lock")(error)),
        }
    }

    /// The archive, where somebody puts it by hand.
    pub fn archive(&self) -> PathBuf {
        self.folder.join(&self.dataset.archive.file)
    }

    /// A file beside the archive.
    pub fn beside(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}{suffix}", self.dataset.archive.file))
    }

    /// Where the texts are put.
    fn target(&self) -> PathBuf {
        self.folder.join(&self.dataset.name)
    }

    /// Looks for the texts, in the folder itself or in the one that they are put into.
    ///
    /// # Errors
    /// [`Error::BadFile`] where another text has the place of one; [`Error::Io`];
    /// [`Error::Interrupted`].
    pub fn look(&self, interrupt: &Interrupt) -> Result<Found> {
        for folder in [&self.folder, &self.target()] {
            let own = *folder == self.folder;
            let mut found = 0;
            for known in &self.dataset.files {
                let Some(path) = present(folder, known) else { continue };
                match differs(&path, known, interrupt)? {
                    None => found += 1,
                    // Somebody else's data may lie beside the folder that we use.
                    Some(_) if own => break,
                    Some(difference) => {
                        return Err(Error::bad_file(
                            &path,
                            format!("is in the way: {difference}"),
                            "move it away, or name another folder with --to",
                        ));
                    }
                }
            }
            if found == self.dataset.files.len() {
                return Ok(Found::Whole(folder.clone()));
            }
        }
        Ok(Found::Wanting)
    }

    /// An empty folder to unpack into, on the same disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn unpacking(&self) -> Result<Unpacking> {
        let path = self.folder.join(format!(".{}.unpacking", self.dataset.name));
        // Nobody else is at work here: what lies there is of a process that was killed.
        let unpacking = Unpacking(path);
        unpacking.clear().map_err(Error::io(&unpacking.0, "delete"))?;
        fs::create_dir(&unpacking.0).map_err(Error::io(&unpacking.0, "create"))?;
        Ok(unpacking)
    }

    /// Puts the unpacked texts where they belong: all at once, or, where the folder is there, those
    /// that it lacks.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&self, unpacking: &Unpacking) -> Result<PathBuf> {
        let target = self.target();
        sync(&unpacking.0);
        if target.exists() {
            for known in &self.dataset.files {
                if present(&target, known).is_none() {
                    let path = target.join(&known.name);
                    fs::rename(unpacking.0.join(&known.name), &path)
                        .map_err(Error::io(&path, "create"))?;
                }
            }
            sync(&target);
        } else {
            fs::rename(&unpacking.0, &target).map_err(Error::io(&target, "create"))?;
        }
        sync(&self.folder);
        Ok(target)
    }
}

/// A folder that goes away with this value.
pub(super) struct Unpacking(PathBuf);

impl Unpacking {
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

impl Drop for Unpacking {
    fn drop(&mut self) {
        // The next fetch clears it, and complains if it cannot.
        let _ = self.clear();
    }
}

/// A text under either of its names; the other one first, as the corpus looks for it first.
pub(super) fn present(folder: &Path, known: &DataFile) -> Option<PathBuf> {
    let names = known.other_name.iter().chain([&known.name]);
    names.map(|name| folder.join(name)).find(|path| path.exists())
}

/// How a file differs from the text that it should be.
fn differs(path: &Path, known: &DataFile, interrupt: &Interrupt) -> Result<Option<String>> {
    let data = fs::metadata(path).map_err(Error::io(path, "read"))?;
    if !data.is_file() {
        return Ok(Some("it is no file".into()));
    }
    // A size says at once what a sum would say later.
    let size = known.bytes.map_or(data.len() <= known.max_bytes, |bytes| data.len() == bytes);
    if !size {
        let expected = known.bytes.unwrap_or(known.max_bytes);
        return Ok(Some(format!("it has {} bytes, not {expected}", data.len())));
    }
    Ok(of_file(path, Taker::of_text(known), interrupt)?.differ(known))
}

/// A new name survives a power cut only once its folder is synced; some file systems refuse.
fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
