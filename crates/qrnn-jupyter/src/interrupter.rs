//! Interrupts: a request that long work notices, and an end to code that does not.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::interrupts::Interrupts;

/// How long code has to notice a first interrupt before a second one ends its process.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Interrupter {
    interrupts: Interrupts,
    run: Mutex<Run>,
}

#[derive(Debug, Default)]
struct Run {
    /// Cells so far; the number of the one that runs.
    cell: u64,
    running: bool,
    /// When the running cell was first interrupted.
    asked: Option<Instant>,
    /// The cell's code was not started, as the interrupt came before.
    before_it_ran: bool,
    /// A second interrupt ended the process.
    ended: bool,
    process: u32,
}

/// What became of a cell's interrupts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Asked {
    pub interrupted: bool,
    /// It was compiled, and its code never started.
    pub before_it_ran: bool,
    /// The process was ended for it.
    pub ended: bool,
}

impl Interrupter {
    pub fn new(interrupts: Interrupts) -> Arc<Self> {
        Arc::new(Self { interrupts, run: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn begin(&self, process: u32) {
        let mut run = self.lock();
        *run = Run { cell: run.cell + 1, running: true, process, ..Run::default() };
    }

    pub fn end(&self) -> Asked {
        let mut run = self.lock();
        run.running = false;
        Asked {
            interrupted: run.asked.is_some(),
            before_it_ran: run.before_it_ran,
            ended: run.ended,
        }
    }

    pub fn is_asked(&self) -> bool {
        self.lock().asked.is_some()
    }

    /// Asked when compiled code is about to start: it would not notice what came before.
    pub fn may_run(&self) -> bool {
        let mut run = self.lock();
        run.before_it_ran = run.running && run.asked.is_some();
        !run.before_it_ran
    }

    /// The first asks the cell to end; a later one ends its process once the time is up.
    pub fn interrupt(self: &Arc<Self>) {
        let mut run = self.lock();
        if !run.running {
            return;
        }
        self.interrupts.count();
        let Some(asked) = run.asked else {
            run.asked = Some(Instant::now());
            stop_cargo(run.process);
            return;
        };
        let cell = run.cell;
        let left = GRACE.saturating_sub(asked.elapsed());
        drop(run);
        let interrupter = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(left);
            interrupter.end_process(cell);
        });
    }

    fn end_process(&self, cell: u64) {
        let mut run = self.lock();
        if run.running && run.cell == cell && !run.ended {
            run.ended = true;
            end(run.process);
        }
    }

    /// The evaluation process's end, whatever it is doing.
    pub fn kill(&self) {
        end(self.lock().process);
    }
}

fn end(process: u32) {
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // Itself by its own number too, in case that it has left its group.
        let _ = kill_process_group(process, Signal::KILL);
        let _ = kill_process(process, Signal::KILL);
    }
}

/// Ends a compilation: each cargo that this process has started, and what that started.
fn stop_cargo(evaluation: u32) {
    for child in children(std::process::id()) {
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        if child != evaluation && name.trim() == "cargo" {
            stop_tree(child);
        }
    }
}

fn stop_tree(process: u32) {
    let below = children(process);
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(process, Signal::KILL);
    }
    below.into_iter().for_each(stop_tree);
}

/// The processes that any thread of this one has started.
fn children(process: u32) -> Vec<u32> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn interrupter() -> (tempfile::TempDir, Arc<Interrupter>) {
        let folder = tempfile::tempdir().unwrap();
        let interrupts = Interrupts::create(&folder.path().join("interrupts")).unwrap();
        (folder, Interrupter::new(interrupts))
    }

    fn sleeper() -> std::process::Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn a_second_interrupt_ends_the_process_after_its_grace() {
        let (_folder, interrupter) = interrupter();
        let mut child = sleeper();
        interrupter.begin(child.id());
        interrupter.interrupt();
        interrupter.interrupt();
        let start = Instant::now();
        child.wait().unwrap();
        assert!(start.elapsed() > GRACE / 2, "no time to notice");
        let asked = Asked { interrupted: true, ended: true, ..Asked::default() };
        assert_eq!(interrupter.end(), asked);
    }

    #[test]
    fn a_cell_that_has_ended_is_left_alone() {
        let (_folder, interrupter) = interrupter();
        let mut child = sleeper();
        interrupter.interrupt();
        interrupter.begin(child.id());
        assert!(!interrupter.is_asked() && interrupter.may_run());
        interrupter.interrupt();
        interrupter.interrupt();
        assert!(!interrupter.may_run());
        assert!(interrupter.end().before_it_ran);
        interrupter.begin(child.id());
        std::thread::sleep(GRACE + Duration::from_millis(300));
        assert_eq!(child.try_wait().unwrap(), None);
        assert_eq!(interrupter.end(), Asked::default());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_knows_its_children() {
        let mut child = sleeper();
        assert!(children(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
