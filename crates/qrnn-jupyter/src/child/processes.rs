//! The processes below the kernel: found in /proc, and ended.
//!
//! The kernel is the reaper of what cells leave behind (PR_SET_CHILD_SUBREAPER): a program whose
//! parent has ended becomes the kernel's child, so that nothing that a cell started is out of its
//! sight, in a session of its own or not. Where the kernel is killed it can end nothing; its guard
//! then knows them by what the kernel noted after each cell, and by the environment that they
//! inherited.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpgid, kill_process, waitpid};

/// A process that is not mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    pub id: u32,
    /// When it started, in the system's ticks.
    pub started: u64,
}

impl Process {
    /// None where there is no such process.
    pub fn of(id: u32) -> Option<Self> {
        Some(Self { id, started: stat(id)?.started })
    }

    /// Ends it, if it is still there.
    pub fn end(self) {
        if Self::of(self.id) == Some(self) {
            end(self.id);
        }
    }
}

struct Stat {
    zombie: bool,
    started: u64,
}

fn stat(process: u32) -> Option<Stat> {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold blanks; the state is field 3, the start field 22.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let zombie = fields.next()? == "Z";
    Some(Stat { zombie, started: fields.nth(18)?.parse().ok()? })
}

fn pid(process: u32) -> Option<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw)
}

/// Ends one process at once.
pub fn end(process: u32) {
    if let Some(process) = pid(process) {
        let _ = kill_process(process, Signal::KILL);
    }
}

/// Ends a process and what it has started.
pub fn end_tree(process: u32) {
    let below = children(process);
    end(process);
    below.into_iter().for_each(end_tree);
}

/// The processes that any thread of this one has started.
pub fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return vec![] };
    let lists = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// The children of this process that are in its own group: the compilers, none of what cells start.
pub fn helpers() -> Vec<u32> {
    let own = getpgid(None).ok();
    let mut all = children(std::process::id());
    all.retain(|&child| pid(child).and_then(|child| getpgid(Some(child)).ok()) == own);
    all
}

/// All processes below this one, those of `but` and what is below them left out.
pub fn below(but: Option<u32>) -> Vec<Process> {
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

/// Takes notice of the end of what cells left behind, all that are not `own`: without a parent that
/// does, they would stay in the system's table.
pub fn bury(own: &[u32]) {
    let helpers = helpers();
    for child in children(std::process::id()) {
        let dead = stat(child).is_some_and(|stat| stat.zombie);
        if dead && !own.contains(&child) && !helpers.contains(&child) {
            let _ = waitpid(pid(child), WaitOptions::NOHANG);
        }
    }
}

/// Ends all below this process but one, and what they start while it does.
pub fn end_below(but: Option<u32>) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let mut left = below(but);
        left.retain(|process| stat(process.id).is_some_and(|stat| !stat.zombie));
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(Process::end);
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
    fn a_process_knows_its_children_and_what_is_in_its_group() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mut apart = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let all = children(std::process::id());
        assert!(all.contains(&child.id()) && all.contains(&apart.id()));
        let helpers = helpers();
        assert!(helpers.contains(&child.id()) && !helpers.contains(&apart.id()));
        for child in [&mut child, &mut apart] {
            let process = Process::of(child.id()).unwrap();
            Process { started: process.started + 1, ..process }.end();
            assert_eq!(child.try_wait().unwrap(), None, "another process was meant");
            process.end();
            child.wait().unwrap();
        }
    }

    #[test]
    fn processes_are_known_by_their_environment() {
        let entry = format!("QRNN_JUPYTER_TEST=/a place/{}", std::process::id());
        let (name, value) = entry.split_once('=').unwrap();
        let mut child = Command::new("sleep").arg("60").env(name, value).spawn().unwrap();
        let found = || started_with(entry.as_bytes());
        let start = Instant::now();
        while found().is_empty() && start.elapsed() < Duration::from_secs(10) {}
        assert_eq!(found(), [Process::of(child.id()).unwrap()]);
        assert_eq!(started_with(&entry.as_bytes()[..entry.len() - 1]), []);
        found().into_iter().for_each(Process::end);
        child.wait().unwrap();
    }
}
