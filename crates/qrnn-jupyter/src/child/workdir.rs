//! A kernel's own working folder, and the guard that removes it.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::child::interrupt::counter;
use crate::child::processes::{self, Process};
use crate::error::{Error, Result};

/// Tells this program that it is to be the guard of the folder that follows.
pub const GUARD: &str = "guard";
/// The process group of the evaluation process, as decimal digits.
const GROUP: &str = "evaluation-group";
/// What cells have started, a process a line: its number and when it started.
const PROCESSES: &str = "processes";
/// The interrupts' counter. Its path, in an environment variable, marks whatever a cell starts.
const COUNTER: &str = "interrupts";
const LOCK: &str = "lock";

/// The folder lives as long as the kernel: a guard, which outlives it by a moment, removes it.
#[derive(Debug)]
pub struct Session {
    folder: PathBuf,
    _lock: File,
    /// The guard waits for its standard input to close, which it does however the kernel ends.
    guard: Option<Child>,
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
        Ok(Self { folder, _lock: file, guard })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the counter of interrupts lies.
    pub fn counter(&self) -> PathBuf {
        self.folder.join(COUNTER)
    }

    /// Notes which processes to end with the kernel, `evaluation` among them. Called after each
    /// cell, by the thread that waits for the evaluation process.
    pub fn note(&self, evaluation: u32) {
        let guard = self.guard();
        let own: Vec<u32> = guard.into_iter().chain([evaluation]).collect();
        processes::bury(&own);
        let _ = fs::write(self.folder.join(GROUP), evaluation.to_string());
        let below = processes::below(guard);
        let lines = below.iter().map(|Process { id, started }| format!("{id} {started}\n"));
        let _ = fs::write(self.folder.join(PROCESSES), lines.collect::<String>());
    }

    /// Ends all that cells have started, the evaluation process first of all. The guard does what is
    /// left for it.
    pub fn end_processes(&self) {
        processes::end_below(self.guard());
    }

    fn guard(&self) -> Option<u32> {
        self.guard.as_ref().map(Child::id)
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

fn start_guard(program: &Path, folder: &Path) -> Option<Child> {
    let mut command = Command::new(program);
    command.arg(GUARD).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null());
    command.stderr(Stdio::null()).current_dir("/");
    // SAFETY: a plain system call. Jupyter kills a kernel with its whole group; not the guard.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
    command.spawn().ok()
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

/// Ends what was started with `mark` in its environment, and removes a folder, until both stay away
/// for 3 seconds: cargo, at work when its kernel was killed, makes anew what it finds missing.
fn remove_for_good(folder: &Path, mark: &[u8]) {
    let mut away = 0;
    for _ in 0..300 {
        let marked = processes::started_with(mark);
        if !marked.is_empty() {
            away = 0;
            marked.into_iter().for_each(Process::end);
        }
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
        let noted = fs::read_to_string(folder.join(PROCESSES)).unwrap_or_default();
        noted.lines().filter_map(process).for_each(Process::end);
        let mut mark = OsString::from(counter::VARIABLE);
        mark.push("=");
        mark.push(folder.join(COUNTER));
        remove_for_good(folder, mark.as_bytes());
    }
    ExitCode::SUCCESS
}

/// A line of the note.
fn process(line: &str) -> Option<Process> {
    let (id, started) = line.split_once(' ')?;
    Some(Process { id: id.parse().ok()?, started: started.parse().ok()? })
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
