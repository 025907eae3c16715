//! The kernel's working folder, and the guard that removes it.
//!
//! The guard is this program in another process. It waits for the end of the kernel, however that
//! comes, kills what the cells have started, and removes the folder.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::child::processes::{self, Process};
use crate::error::{Error, Result};
use crate::{env_vars, json_file};

/// The subcommand that is the guard; the folder follows.
pub const GUARD: &str = "guard";
/// File with the process group of the child process.
const GROUP: &str = "evaluation-group";
/// File with the processes that cells have started, as JSON.
const PROCESSES: &str = "processes";
const COUNTER: &str = "interrupts";
const LOCK: &str = "lock";

pub struct Workdir {
    folder: PathBuf,
    _lock: File,
    /// Its standard input is a pipe that closes when the kernel ends.
    guard: Option<Child>,
}

impl Workdir {
    /// Makes a folder, and removes those that killed kernels left.
    pub fn create(program: &Path) -> Result<Self> {
        let all = parent_folder();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&all).map_err(Error::io(&all, "create"))?;
        remove_abandoned(&all);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let folder = all.join(format!("{}-{time}", std::process::id()));
        // The guard starts first, so that a killed kernel never leaves a folder without a guard. If
        // it cannot start, the next kernel removes the folder.
        let guard = start_guard(program, &folder);
        builder.recursive(false).create(&folder).map_err(Error::io(&folder, "create"))?;
        let lock = folder.join(LOCK);
        let file = File::create(&lock).map_err(Error::io(&lock, "create"))?;
        file.lock().map_err(Error::io(&lock, "lock"))?;
        Ok(Self { folder, _lock: file, guard })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The file of the interrupt counter.
    pub fn counter(&self) -> PathBuf {
        self.folder.join(COUNTER)
    }

    /// Records the processes that must end with the kernel. Must be called by the thread that waits
    /// for the child process.
    pub fn record_processes(&self, child: u32) {
        let guard = self.guard_id();
        let own: Vec<u32> = guard.into_iter().chain([child]).collect();
        processes::reap_zombies(&own);
        let _ = fs::write(self.folder.join(GROUP), child.to_string());
        let _ = json_file::write(&self.folder.join(PROCESSES), &processes::descendants(guard));
    }

    /// Kills everything that cells have started. The guard does the rest.
    pub fn kill_processes(&self) {
        processes::kill_descendants(self.guard_id());
    }

    fn guard_id(&self) -> Option<u32> {
        self.guard.as_ref().map(Child::id)
    }
}

/// The folder for all kernels of a user. Other users must not be able to put programs there.
fn parent_folder() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("qrnn-jupyter-{user}"))
}

fn start_guard(program: &Path, folder: &Path) -> Option<Child> {
    let mut command = Command::new(program);
    command.arg(GUARD).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null());
    command.stderr(Stdio::null()).current_dir("/");
    // Jupyter kills a kernel with its process group; the guard must survive.
    // SAFETY: a plain system call.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
    command.spawn().ok()
}

/// Removes the folders whose lock no kernel holds.
fn remove_abandoned(all: &Path) {
    let Ok(entries) = fs::read_dir(all) else { return };
    for folder in entries.flatten().map(|entry| entry.path()) {
        match File::open(folder.join(LOCK)).map(|lock| lock.try_lock().map(|()| lock)) {
            Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) => {}
            Ok(Ok(_lock)) => remove(&folder),
            // Without a lock, another kernel may just be creating it.
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
    // A compiler may still write there for a moment.
    for _ in 0..50 {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Kills the processes with `mark` in their environment and removes the folder, until neither comes
/// back for 3 seconds: cargo recreates folders if it was running when the kernel was killed.
fn remove_for_good(folder: &Path, mark: &[u8]) {
    let mut quiet = 0;
    for _ in 0..300 {
        let marked = processes::started_with(mark);
        let exists = folder.exists();
        if !marked.is_empty() || exists {
            quiet = 0;
        } else if quiet == 30 {
            return;
        } else {
            quiet += 1;
        }
        marked.into_iter().for_each(Process::kill);
        if exists {
            let _ = fs::remove_dir_all(folder);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits for the end of the kernel, then cleans up.
pub fn guard(folder: &Path) -> ExitCode {
    let _ = std::io::stdin().read_to_end(&mut vec![]);
    // Never removes a folder that is not a workdir.
    if folder.parent() == Some(parent_folder().as_path()) {
        // The id of the group cannot belong to another one so soon.
        let group = fs::read_to_string(folder.join(GROUP)).ok().and_then(|text| text.parse().ok());
        if let Some(group) = group.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let recorded: Vec<Process> = json_file::read(&folder.join(PROCESSES));
        recorded.into_iter().for_each(Process::kill);
        let mut mark = OsString::from(env_vars::INTERRUPTS);
        mark.push("=");
        mark.push(folder.join(COUNTER));
        remove_for_good(folder, mark.as_bytes());
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_folders_are_removed() {
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
        remove_abandoned(all.path());
        assert!(live.exists() && !dead.exists() && fresh.exists());
    }
}
