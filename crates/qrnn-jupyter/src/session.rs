//! A kernel's own working folder, and the guard that removes it.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::{Error, Result};

/// Tells this program that it is to be the guard of the folder that follows.
pub const GUARD: &str = "guard";
/// The process group of the evaluation process, as decimal digits.
const GROUP: &str = "evaluation-group";
const LOCK: &str = "lock";

/// The folder lives as long as the kernel: a guard, which outlives it by a moment, removes it.
#[derive(Debug)]
pub struct Session {
    folder: PathBuf,
    _lock: File,
    /// The guard waits for this to close, which it does however the kernel ends.
    _guard: Option<std::process::ChildStdin>,
}

impl Session {
    /// Makes a folder, and removes those that killed kernels left.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(program: &Path) -> Result<Self> {
        let all = all();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&all).map_err(Error::io(&all, "create"))?;
        reap(&all);
        let folder = all.join(format!("{}-{}", std::process::id(), nanoseconds()));
        // First: whenever this process is killed, no folder is there without a guard. Where none can be
        // had (no more processes?), the next kernel removes the folder.
        let guard = start_guard(program, &folder);
        builder.recursive(false).create(&folder).map_err(Error::io(&folder, "create"))?;
        let lock = folder.join(LOCK);
        let file = File::create(&lock).map_err(Error::io(&lock, "create"))?;
        file.lock().map_err(Error::io(&lock, "lock"))?;
        Ok(Self { folder, _lock: file, _guard: guard })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Notes which processes to end with the kernel.
    pub fn note_group(&self, group: u32) {
        let _ = fs::write(self.folder.join(GROUP), group.to_string());
    }
}

/// Where all kernels' folders lie; a user's own, as others must not put programs there.
fn all() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("qrnn-jupyter-{user}"))
}

fn nanoseconds() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_nanos()
}

fn start_guard(program: &Path, folder: &Path) -> Option<std::process::ChildStdin> {
    let mut command = Command::new(program);
    command.arg(GUARD).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null());
    command.stderr(Stdio::null()).current_dir("/");
    // SAFETY: a plain system call. Jupyter kills a kernel with its whole group; not the guard.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
    command.spawn().ok()?.stdin.take()
}

/// Removes the folders that no kernel holds the lock of.
fn reap(all: &Path) {
    let Ok(entries) = fs::read_dir(all) else { return };
    for folder in entries.flatten().map(|entry| entry.path()) {
        match File::open(folder.join(LOCK)).map(|lock| lock.try_lock().map(|()| lock)) {
            // Held by a live kernel.
            Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) => {}
            Ok(Ok(_lock)) => remove(&folder),
            // One that is being made, or a ruin; a kernel takes a moment to make one.
            Err(_) if age(&folder) > Duration::from_secs(60) => remove(&folder),
            Err(_) => {}
        }
    }
}

fn age(folder: &Path) -> Duration {
    let modified = fs::metadata(folder).and_then(|metadata| metadata.modified());
    modified.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default()
}

fn remove(folder: &Path) {
    // A compiler that was at work may still write there for a moment.
    for _ in 0..50 {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Removes a folder until it stays away for 3 seconds: cargo, at work when its kernel was killed, makes
/// anew what it finds missing.
fn remove_for_good(folder: &Path) {
    let mut away = 0;
    for _ in 0..300 {
        match folder.exists() {
            true => (away, _) = (0, fs::remove_dir_all(folder)),
            false if away == 30 => return,
            false => away += 1,
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The guard's whole life: waits for the kernel to end, then clears up.
pub fn guard(folder: &Path) -> ExitCode {
    let _ = std::io::stdin().read_to_end(&mut vec![]);
    // Only what a session made: never a folder that somebody names by mistake.
    if folder.parent() == Some(all().as_path()) {
        // The group's number was given to no other one yet: this is the moment after.
        let group = fs::read_to_string(folder.join(GROUP)).ok().and_then(|text| text.parse().ok());
        if let Some(group) = group.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        remove_for_good(folder);
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_nobody_holds_are_removed() {
        let all = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let folder = all.path().join(name);
            fs::create_dir_all(folder.join("src")).unwrap();
            (folder.clone(), File::create(folder.join(LOCK)).unwrap())
        };
        let (live, lock) = make("1-1");
        lock.lock().unwrap();
        let (dead, ended) = make("2-2");
        drop(ended);
        let fresh = all.path().join("3-3");
        fs::create_dir(&fresh).unwrap();
        reap(all.path());
        assert!(live.exists() && !dead.exists() && fresh.exists());
    }
}
