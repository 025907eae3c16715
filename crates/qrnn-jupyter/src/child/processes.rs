//! Finds processes in /proc, and kills them.
//!
//! The kernel is the reaper of its descendants (PR_SET_CHILD_SUBREAPER): if the parent of a program
//! ends, the program becomes a child of the kernel, in whatever session it is. So everything that
//! cells started is found below the kernel. If the kernel itself is killed, its guard finds the
//! processes in the list that the kernel writes after each cell, and by their environment.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpgid, kill_process, waitpid};

/// A process that is not confused with a later one of the same id.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    pub id: u32,
    /// When it started, in the system's ticks.
    pub started: u64,
}

impl Process {
    pub fn of(id: u32) -> Option<Self> {
        Some(Self { id, started: stat(id)?.started })
    }

    /// Kills it if it still exists.
    pub fn kill(self) {
        if Self::of(self.id) == Some(self) {
            kill(self.id);
        }
    }
}

struct Stat {
    zombie: bool,
    started: u64,
}

fn stat(process: u32) -> Option<Stat> {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may contain spaces. The state is field 3, the start field 22.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let zombie = fields.next()? == "Z";
    Some(Stat { zombie, started: fields.nth(18)?.parse().ok()? })
}

fn pid(process: u32) -> Option<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw)
}

pub fn kill(process: u32) {
    if let Some(process) = pid(process) {
        let _ = kill_process(process, Signal::KILL);
    }
}

/// Kills a process and everything below it.
pub fn kill_tree(process: u32) {
    let below = children(process);
    kill(process);
    below.into_iter().for_each(kill_tree);
}

pub fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return vec![] };
    let lists = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let ids = lists.flat_map(|list| list.split_whitespace().map(str::parse).collect::<Vec<_>>());
    ids.flatten().collect()
}

/// The children in this process's group: compilers, not what cells start.
pub fn compilers() -> Vec<u32> {
    let own = getpgid(None).ok();
    let mut all = children(std::process::id());
    all.retain(|&child| pid(child).and_then(|child| getpgid(Some(child)).ok()) == own);
    all
}

/// All processes below this one, except `but` and what is below it.
pub fn descendants(but: Option<u32>) -> Vec<Process> {
    let (mut found, mut open) = (vec![], children(std::process::id()));
    while let Some(process) = open.pop() {
        if Some(process) == but || found.iter().any(|known: &Process| known.id == process) {
            continue;
        }
        open.extend(children(process));
        found.extend(Process::of(process));
    }
    found
}

/// Reaps zombies that cells left behind; `own` children are waited for elsewhere.
pub fn reap_zombies(own: &[u32]) {
    let compilers = compilers();
    for child in children(std::process::id()) {
        let zombie = stat(child).is_some_and(|stat| stat.zombie);
        if zombie && !own.contains(&child) && !compilers.contains(&child) {
            let _ = waitpid(pid(child), WaitOptions::NOHANG);
        }
    }
}

/// Kills everything below this process except `but`, also what is started meanwhile.
pub fn kill_descendants(but: Option<u32>) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let mut left = descendants(but);
        left.retain(|process| stat(process.id).is_some_and(|stat| !stat.zombie));
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(Process::kill);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes that were started with `entry` (`NAME=value`) in their environment.
pub fn started_with(entry: &[u8]) -> Vec<Process> {
    let Ok(all) = std::fs::read_dir("/proc") else { return vec![] };
    let ids = all.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
    let ids = ids.filter(|&id: &u32| id != std::process::id());
    let marked = ids.filter(|id| {
        std::fs::read(format!("/proc/{id}/environ"))
            .is_ok_and(|variables| variables.split(|&byte| byte == 0).any(|one| one == entry))
    });
    marked.filter_map(Process::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn children_and_their_groups_are_found() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mut apart = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let all = children(std::process::id());
        assert!(all.contains(&child.id()) && all.contains(&apart.id()));
        let compilers = compilers();
        assert!(compilers.contains(&child.id()) && !compilers.contains(&apart.id()));
        for child in [&mut child, &mut apart] {
            let process = Process::of(child.id()).unwrap();
            Process { started: process.started + 1, ..process }.kill();
            assert_eq!(child.try_wait().unwrap(), None, "another process was meant");
            process.kill();
            child.wait().unwrap();
        }
    }

    #[test]
    fn processes_are_found_by_their_environment() {
        let entry = format!("QRNN_JUPYTER_TEST=/a place/{}", std::process::id());
        let (name, value) = entry.split_once('=').unwrap();
        let mut child = Command::new("sleep").arg("60").env(name, value).spawn().unwrap();
        let found = || started_with(entry.as_bytes());
        let start = Instant::now();
        while found().is_empty() && start.elapsed() < Duration::from_secs(10) {}
        assert_eq!(found(), [Process::of(child.id()).unwrap()]);
        assert_eq!(started_with(&entry.as_bytes()[..entry.len() - 1]), []);
        found().into_iter().for_each(Process::kill);
        child.wait().unwrap();
    }
}
