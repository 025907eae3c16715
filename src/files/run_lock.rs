//! Ownership of a run folder, also between machines that share it over a network.
//!
//! Two marks protect a folder. The system's lock on `lock` ends with its process, but some network file systems
//! do not pass it on to other machines. The file `owner` is created exclusively, which all of them do; its
//! process counts up a number in it, the heartbeat, every few seconds. A process on the same machine that
//! finds the lock free knows that the owner is dead. One on another machine watches the heartbeat: if it
//! stands still for a minute, by the watcher's own clock, the owner is dead.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Time between two heartbeats.
const BEAT: Duration = Duration::from_secs(5);

/// An owner on another machine whose heartbeat stands still for this long is dead.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// The process that works in a folder, as the file `owner` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// Name of its machine, for messages.
    host: String,
    /// Identifies the running system: the reach of the system's locks.
    system: String,
    process: u32,
    /// Distinguishes two owners with the same process number.
    token: String,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.process, self.host)
    }
}

/// Ownership of a folder until dropped.
#[derive(Debug)]
pub(crate) struct RunLock {
    path: PathBuf,
    owner: Owner,
    lost: Arc<AtomicBool>,
    /// Ends the heartbeat when dropped.
    stop: Option<Sender<()>>,
    heartbeat: Option<JoinHandle<()>>,
    /// The system's lock, where the file system has locks; released after the file `owner` is deleted.
    _lock: Option<File>,
}

/// The outcome of [`claim`].
#[derive(Debug)]
pub(crate) enum Claim {
    Ours(RunLock),
    /// Another process works in the folder.
    Live(Option<Owner>),
    /// A process on another machine owned the folder; whether it lives is known after [`SILENCE`].
    Unclear(Owner),
}

/// What a process has seen of another machine's owner.
#[derive(Debug)]
pub(crate) struct Watch {
    content: Vec<u8>,
    since: Instant,
}

/// Takes the folder, unless another process works in it. `watch` is empty at the first call for a folder, and
/// kept between calls.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn claim(folder: &Path, watch: &mut Option<Watch>) -> Result<Claim> {
    Claimant { owner: Owner::this(), silence: SILENCE, beat: BEAT, locks: true }
        .claim(folder, watch)
}

impl Owner {
    fn this() -> Self {
        let line = |path| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let host = line("/proc/sys/kernel/hostname").unwrap_or_else(|| "this machine".into());
        let system = line("/proc/sys/kernel/random/boot_id").unwrap_or_else(|| host.clone());
        let token = format!("{:016x}", rand::random::<u64>());
        Self { host, system, process: std::process::id(), token }
    }

    /// The content of the file `owner`: always of the same length for the same owner.
    fn content(&self, beat: u64) -> Vec<u8> {
        // A struct of strings and a number always has a JSON form.
        let owner = serde_json::to_string(self).unwrap_or_default();
        format!("{owner}\n{beat:020}\n").into_bytes()
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let line = content.split(|byte| *byte == b'\n').next()?;
        serde_json::from_slice(line).ok()
    }
}

struct Claimant {
    owner: Owner,
    silence: Duration,
    beat: Duration,
    /// Whether the file system's locks reach all processes; false in tests.
    locks: bool,
}

impl Claimant {
    fn claim(self, folder: &Path, watch: &mut Option<Watch>) -> Result<Claim> {
        let path = folder.join("owner");
        let lock_path = folder.join("lock");
        // An existing file is not modified.
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(Error::io(&lock_path, "create"))?;
        let lock = match lock.try_lock() {
            _ if !self.locks => None,
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => {
                let content = std::fs::read(&path).unwrap_or_default();
                return Ok(Claim::Live(Owner::parse(&content)));
            }
            Err(TryLockError::Error(error)) if has_no_locks(&error) => None,
            Err(TryLockError::Error(error)) => return Err(Error::io(&lock_path, "lock")(error)),
        };
        loop {
            match File::create_new(&path) {
                Ok(file) => return self.own(file, path, lock).map(Claim::Ours),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(&path, "create")(error)),
            }
            let content = match std::fs::read(&path) {
                Ok(content) => content,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io(&path, "read")(error)),
            };
            let other = Owner::parse(&content);
            let died_here = lock.is_some()
                && other.as_ref().is_some_and(|other| other.system == self.owner.system);
            if !died_here {
                match watch {
                    Some(seen) if seen.content == content => {
                        if seen.since.elapsed() < self.silence {
                            return Ok(Claim::unclear(other));
                        }
                    }
                    seen => {
                        let beats = seen.is_some();
                        *seen = Some(Watch { content, since: Instant::now() });
                        return Ok(if beats { Claim::Live(other) } else { Claim::unclear(other) });
                    }
                }
            }
            if !self.remove_dead(&path, &content)? {
                return Ok(Claim::Live(other));
            }
        }
    }

    /// Removes the file of a dead owner; false if the folder has a new owner meanwhile.
    fn remove_dead(&self, path: &Path, content: &[u8]) -> Result<bool> {
        // Of several processes that rename the file, one succeeds.
        let aside = path.with_file_name(format!("owner.{}", self.owner.token));
        match std::fs::rename(path, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(Error::io(path, "rename")(error)),
        }
        let moved = std::fs::read(&aside).map_err(Error::io(&aside, "read"))?;
        if moved != content {
            std::fs::rename(&aside, path).map_err(Error::io(path, "rename"))?;
            return Ok(false);
        }
        std::fs::remove_file(&aside).map_err(Error::io(&aside, "delete"))?;
        Ok(true)
    }

    /// Writes the owner's name and begins its heartbeat.
    fn own(self, mut file: File, path: PathBuf, lock: Option<File>) -> Result<RunLock> {
        let written = file.write_all(&self.owner.content(0)).and_then(|()| file.sync_data());
        written.map_err(Error::io(&path, "write"))?;
        let (stop, stopped) = channel();
        let lost = Arc::new(AtomicBool::new(false));
        let heartbeat = {
            let (path, owner, lost) = (path.clone(), self.owner.clone(), lost.clone());
            move || {
                let (mut beat, mut missing) = (0, false);
                while stopped.recv_timeout(self.beat) == Err(RecvTimeoutError::Timeout) {
                    beat += 1;
                    // A disk that fails for a moment is no reason to stop; the next beat tries again.
                    let _ =
                        file.write_all_at(&owner.content(beat), 0).and_then(|()| file.sync_data());
                    let seen = owner_of(&path);
                    let taken = seen.as_ref().is_some_and(|seen| seen.as_ref() != Some(&owner));
                    // A process that mistook this one for dead puts the file back at once.
                    if taken || (missing && seen.is_none()) {
                        lost.store(true, Ordering::Relaxed);
                    }
                    missing = seen.is_none();
                }
            }
        };
        let thread = std::thread::Builder::new().name("run lock".into()).spawn(heartbeat);
        let heartbeat = Some(thread.map_err(Error::io(&path, "keep a heartbeat in"))?);
        Ok(RunLock { path, owner: self.owner, lost, stop: Some(stop), heartbeat, _lock: lock })
    }
}

impl Claim {
    /// A file without a name was created at this moment, or its process died then.
    fn unclear(owner: Option<Owner>) -> Self {
        Self::Unclear(owner.unwrap_or_else(|| Owner {
            host: "another machine".into(),
            system: String::new(),
            process: 0,
            token: String::new(),
        }))
    }
}

/// The owner that the file names; `None` if there is no file. A file that cannot be read changes nothing.
fn owner_of(path: &Path) -> Option<Option<Owner>> {
    match std::fs::read(path) {
        Ok(content) => Some(Owner::parse(&content)),
        Err(_) => None,
    }
}

/// Whether the file system does not support locks.
fn has_no_locks(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported
        || error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error())
}

impl RunLock {
    /// Whether another process has taken the folder, because this one was stopped for too long.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(heartbeat) = self.heartbeat.take() {
            let _ = heartbeat.join();
        }
        if owner_of(&self.path) == Some(Some(self.owner.clone())) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_millis(20);
    const SILENCE: Duration = Duration::from_secs(3);

    /// A process of this machine, or of another one whose locks this one does not see.
    fn claimant(system: &str) -> Claimant {
        let owner = Owner { system: system.into(), ..Owner::this() };
        Claimant { owner, silence: SILENCE, beat: BEAT, locks: true }
    }

    /// A process on another machine, to which the file system does not pass on locks.
    fn remote(system: &str) -> Claimant {
        Claimant { locks: false, ..claimant(system) }
    }

    fn ours(claim: Claim) -> RunLock {
        match claim {
            Claim::Ours(lock) => lock,
            other => panic!("{other:?}"),
        }
    }

    /// Leaves the folder as a killed process does: without the system's lock, and with its name.
    fn kill(mut lock: RunLock) {
        drop(lock.stop.take());
        lock.heartbeat.take().unwrap().join().unwrap();
        lock._lock = None;
        std::mem::forget(lock);
    }

    #[test]
    fn a_folder_has_one_owner_and_is_free_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let lock = ours(claimant("here").claim(folder.path(), &mut None).unwrap());
        let second = claimant("here").claim(folder.path(), &mut None).unwrap();
        assert!(matches!(second, Claim::Live(Some(owner)) if owner == lock.owner));
        drop(lock);
        assert!(!folder.path().join("owner").exists());
        ours(claimant("here").claim(folder.path(), &mut None).unwrap());
    }

    #[test]
    fn a_killed_process_of_this_machine_is_replaced_at_once() {
        let folder = tempfile::tempdir().unwrap();
        kill(ours(claimant("here").claim(folder.path(), &mut None).unwrap()));
        assert!(folder.path().join("owner").exists());
        ours(claimant("here").claim(folder.path(), &mut None).unwrap());
    }

    /// Without the system's lock, as between machines.
    #[test]
    fn another_machine_is_replaced_only_when_it_is_silent() {
        let folder = tempfile::tempdir().unwrap();
        let lock = ours(remote("there").claim(folder.path(), &mut None).unwrap());
        let mut watch = None;
        let first = claimant("here").claim(folder.path(), &mut watch).unwrap();
        assert!(matches!(first, Claim::Unclear(owner) if owner == lock.owner));
        // A busy machine may delay the next beat.
        loop {
            match claimant("here").claim(folder.path(), &mut watch).unwrap() {
                Claim::Live(Some(_)) => break,
                Claim::Unclear(_) => std::thread::sleep(BEAT),
                other => panic!("{other:?}"),
            }
        }
        kill(lock);
        let killed = Instant::now();
        let lock = loop {
            match claimant("here").claim(folder.path(), &mut watch).unwrap() {
                Claim::Ours(lock) => break lock,
                _ => std::thread::sleep(BEAT),
            }
        };
        assert!(killed.elapsed() >= SILENCE / 2, "{:?}", killed.elapsed());
        assert!(!lock.is_lost());
    }

    #[test]
    fn a_process_that_stood_still_notices_its_successor() {
        let folder = tempfile::tempdir().unwrap();
        let lock = ours(remote("there").claim(folder.path(), &mut None).unwrap());
        std::fs::remove_file(folder.path().join("owner")).unwrap();
        let successor = ours(claimant("here").claim(folder.path(), &mut None).unwrap());
        let begin = Instant::now();
        while !lock.is_lost() {
            assert!(begin.elapsed() < Duration::from_secs(20));
            std::thread::sleep(BEAT);
        }
        drop(lock);
        assert!(folder.path().join("owner").exists() && !successor.is_lost());
    }

    /// Of many processes that find the same dead owner, one takes the folder.
    #[test]
    fn a_dead_owner_has_one_successor() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            kill(ours(remote("there").claim(folder.path(), &mut None).unwrap()));
            let content = std::fs::read(folder.path().join("owner")).unwrap();
            let since = Instant::now().checked_sub(SILENCE).unwrap();
            let successors: Vec<_> = std::thread::scope(|scope| {
                let claim = |i: usize| {
                    let (folder, content) = (folder.path(), content.clone());
                    scope.spawn(move || {
                        let claimant = remote(&format!("machine {i}"));
                        claimant.claim(folder, &mut Some(Watch { content, since })).unwrap()
                    })
                };
                let threads: Vec<_> = (0..8).map(claim).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let taken = successors.iter().filter(|claim| matches!(claim, Claim::Ours(_)));
            assert_eq!(taken.count(), 1);
        }
    }
}
