//! What every command does first: a libtorch that torch-sys can link against.

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

use fs_err as fs;

use crate::error::{Error, Result};
use crate::setup::pins::{LINKED_FOLDER, Pins, RELEASE, Set};
use crate::{terminal, workspace};

/// Where libtorch comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Libtorch {
    /// `.libtorch/current`, as `.cargo/config.toml` says.
    Ours,
    /// The user's own, by LIBTORCH.
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

/// Makes libtorch ready, and NVRTC; nothing is done twice.
pub fn run() -> Result<Libtorch> {
    let pins = Pins::read()?;
    run_sets(&[&pins.linked, &pins.nvrtc])
}

/// [`run`], and all that computing on a GPU needs beside its driver.
pub fn run_with_cuda() -> Result<Libtorch> {
    let pins = Pins::read()?;
    run_sets(&[&pins.linked, &pins.nvrtc, &pins.cuda])
}

fn run_sets(sets: &[&Set]) -> Result<Libtorch> {
    let root = workspace::root();
    let home = root.join(".libtorch");
    if let Some(theirs) =
        user_libtorch::of_user(std::env::var_os("LIBTORCH"), &home.join(LINKED_FOLDER))
    {
        user_libtorch::check(&theirs)?;
        preflight::compiler_of_environment()?;
        terminal::note(format_args!(
            "using libtorch of LIBTORCH, with or without CUDA: {}",
            theirs.display()
        ));
        return Ok(Libtorch::Theirs);
    }
    // Looked at before anything is written: a whole one may lie where one can only read.
    let amiss = |set: &&&Set| stamp::amiss(set, &home.join(&set.folder)).is_some();
    let missing: Vec<&&Set> = sets.iter().filter(amiss).collect();
    if missing.is_empty() {
        // Left by a set-up that was killed in its last moment. Where it cannot be cleared, it does
        // no harm either.
        if !install::is_clear(&home)
            && let Ok(_lock) = lock(&home.join("lock"))
        {
            let _ = install::clear(&home);
        }
    } else {
        preflight::check(&root, missing.iter().map(|set| set.disk).sum())?;
        fs::create_dir_all(&home)?;
        let lock = lock(&home.join("lock"))?;
        for set in missing {
            install(set, &home, &lock)?;
        }
        install::clear(&home)?;
    }
    let ours = home.join(LINKED_FOLDER);
    terminal::note(format_args!("libtorch {RELEASE} is in place: {}", ours.display()));
    Ok(Libtorch::Ours)
}

fn install(set: &Set, home: &Path, lock: &File) -> Result<()> {
    let place = home.join(&set.folder);
    match stamp::amiss(set, &place) {
        // Another set-up did it while this one waited.
        None => return Ok(()),
        Some(problem) if fs::symlink_metadata(&place).is_ok() => {
            terminal::note(format_args!("installing {} anew: {problem}", set.what));
        }
        Some(_) => {}
    }
    install::run(set, home, lock)?;
    terminal::note(format_args!("{} is installed: {}", set.what, place.display()));
    Ok(())
}

/// One set-up at a time in a clone; the lock goes with the process, however it ends.
fn lock(path: &Path) -> Result<File> {
    let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let lock = options.map_err(Error::io(path, "open"))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => {
            terminal::note("another set-up is at work here; waiting for it")
        }
        Err(TryLockError::Error(error)) => return Err(Error::io(path, "lock")(error)),
    }
    lock.lock().map_err(Error::io(path, "lock"))?;
    Ok(lock)
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
