//! Installs the libtorch that torch-sys links. Every command that builds does this first.

pub mod download;
mod install;
pub mod pins;
mod pip;
mod preflight;
mod stamp;
mod unpack;
mod user_libtorch;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::setup::pins::{LINKED_FOLDER, Pins, RELEASE, Set};
use crate::{terminal, workspace};

/// Which libtorch is linked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Libtorch {
    /// `.libtorch/current`, as `.cargo/config.toml` says.
    Ours,
    /// The user's, which LIBTORCH names.
    Theirs,
}

impl Libtorch {
    pub fn folder(self) -> PathBuf {
        match self {
            Self::Ours => workspace::root().join(".libtorch").join(LINKED_FOLDER),
            Self::Theirs => std::env::var_os("LIBTORCH").map(PathBuf::from).unwrap_or_default(),
        }
    }
}

/// Installs libtorch and NVRTC where they are missing.
pub fn run() -> Result<Libtorch> {
    let pins = Pins::read()?;
    run_sets(&[&pins.linked, &pins.nvrtc])
}

/// Installs libtorch's CUDA libraries as well.
pub fn run_with_cuda() -> Result<Libtorch> {
    let pins = Pins::read()?;
    run_sets(&[&pins.linked, &pins.nvrtc, &pins.cuda])
}

fn run_sets(sets: &[&Set]) -> Result<Libtorch> {
    let root = workspace::root();
    let home = root.join(".libtorch");
    let ours = home.join(LINKED_FOLDER);
    if let Some(theirs) = user_libtorch::of_user(std::env::var_os("LIBTORCH"), &ours) {
        user_libtorch::check(&theirs)?;
        preflight::compiler_of_environment()?;
        let theirs = theirs.display();
        terminal::note(format_args!("using the libtorch that LIBTORCH names: {theirs}"));
        return Ok(Libtorch::Theirs);
    }
    // Checked before anything is written: a complete one may be in a read-only folder.
    let amiss = |set: &&&Set| stamp::amiss(set, &home.join(&set.folder)).is_some();
    let missing: Vec<&&Set> = sets.iter().filter(amiss).collect();
    if !missing.is_empty() {
        preflight::check(&root, missing.iter().map(|set| set.disk).sum())?;
        fs_err::create_dir_all(&home)?;
        let lock = lock(&home.join("lock"))?;
        for set in missing {
            install(set, &home, &lock)?;
        }
        install::clear(&home)?;
    } else if let Ok(lock) = open(&home.join("lock"))
        && lock.try_lock().is_ok()
    {
        // A set-up may have been killed before it deleted its downloads. They do no harm where they cannot
        // be deleted.
        let _ = install::clear(&home);
    }
    terminal::note(format_args!("libtorch {RELEASE} is in place: {}", ours.display()));
    Ok(Libtorch::Ours)
}

fn install(set: &Set, home: &Path, lock: &File) -> Result<()> {
    let place = home.join(&set.folder);
    match stamp::amiss(set, &place) {
        // Another set-up installed it while this one waited.
        None => return Ok(()),
        Some(problem) if fs_err::symlink_metadata(&place).is_ok() => {
            terminal::note(format_args!("installing {} again: {problem}", set.what));
        }
        Some(_) => {}
    }
    install::run(set, home, lock)?;
    terminal::note(format_args!("{} is installed: {}", set.what, place.display()));
    Ok(())
}

/// Allows one set-up at a time in a clone. The lock ends with the process.
fn lock(path: &Path) -> Result<File> {
    let lock = open(path).map_err(Error::io(path, "open"))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => terminal::note("waiting for another set-up in this clone"),
        Err(TryLockError::Error(error)) => return Err(Error::io(path, "lock")(error)),
    }
    lock.lock().map_err(Error::io(path, "lock"))?;
    Ok(lock)
}

fn open(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_setup_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = lock(&path).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(lock(&path).is_ok()));
            assert!(receiver.recv_timeout(Duration::from_millis(200)).is_err());
            drop(first);
            assert!(receiver.recv_timeout(Duration::from_secs(5)).unwrap());
        });
    }
}
