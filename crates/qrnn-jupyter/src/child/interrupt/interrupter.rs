//! Interrupts cells: asks long work to stop, and kills a process that does not.
//!
//! A cell can be interrupted as soon as its request has arrived. Before its code starts, the
//! compilers are killed; if the cell has not ended after [`PATIENCE`], or if it still waits for an
//! earlier one, the shell stops waiting for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::child::interrupt::counter::InterruptCounter;
use crate::child::processes;
use crate::protocol::message::Request;

/// How long code has to stop after a first interrupt before a second one kills its process.
const GRACE: Duration = Duration::from_secs(1);
/// How long the shell waits for an interrupted cell whose code has not started.
const PATIENCE: Duration = Duration::from_millis(400);
/// Cells and interrupts arrive on different channels. An interrupt that finds no cell applies to one
/// that was sent before it and arrives at most this much later.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// Programs that evcxr starts to compile a cell.
const COMPILERS: [&str; 3] = ["cargo", "mold", "sh"];

pub struct Interrupter {
    /// `None` if the kernel could not prepare itself, and no code will run.
    counter: Option<InterruptCounter>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    run: Run,
    awaited: Option<Awaited>,
    /// The number of cells so far.
    cells: u64,
    /// The number of interrupts so far.
    interrupts: u64,
    /// The last interrupt that found no cell.
    early: Option<Early>,
}

/// The cell that evcxr works on.
#[derive(Default)]
struct Run {
    cell: u64,
    running: bool,
    /// When it was first interrupted.
    interrupted: Option<Instant>,
    /// Its code was started.
    started: bool,
    /// Its code was not started because of an interrupt.
    prevented: bool,
    /// Its process was killed by a second interrupt.
    killed: bool,
    process: u32,
}

/// The cell that the shell waits for.
struct Awaited {
    cell: u64,
    /// Makes the shell stop waiting.
    tell_shell: Box<dyn Fn() + Send>,
    abandoned: bool,
}

struct Early {
    arrived: Instant,
    /// The sender's time, in microseconds.
    sent: i64,
}

/// What interrupts did to a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct InterruptOutcome {
    pub interrupted: bool,
    /// It was compiled, but its code was not started.
    pub prevented: bool,
    pub started: bool,
    pub killed: bool,
}

impl Interrupter {
    pub fn new(counter: Option<InterruptCounter>) -> Arc<Self> {
        Arc::new(Self { counter, state: Mutex::default() })
    }

    /// The shell waits for this cell from now on. Returns a number for it. `abandon` must make the
    /// shell stop waiting.
    pub fn enqueue(&self, request: &Request, abandon: impl Fn() + Send + 'static) -> u64 {
        let mut state = self.state.lock();
        state.cells += 1;
        let cell = state.cells;
        let abandoned = state.early.take().is_some_and(|early| early.applies_to(request));
        if abandoned {
            abandon();
        }
        state.awaited = Some(Awaited { cell, tell_shell: Box::new(abandon), abandoned });
        cell
    }

    /// The shell no longer waits for a cell.
    pub fn dequeue(&self) {
        self.state.lock().awaited = None;
    }

    /// Whether evcxr may begin with a cell, because the shell still waits for it.
    pub fn begin(&self, cell: u64, process: u32) -> bool {
        let mut state = self.state.lock();
        let waits = state.awaited.as_ref().is_some_and(|a| a.cell == cell && !a.abandoned);
        if waits {
            state.run = Run { cell, running: true, process, ..Run::default() };
        }
        waits
    }

    pub fn end(&self) -> InterruptOutcome {
        let run = &mut self.state.lock().run;
        run.running = false;
        InterruptOutcome {
            interrupted: run.interrupted.is_some(),
            prevented: run.prevented,
            started: run.started,
            killed: run.killed,
        }
    }

    pub fn is_interrupted(&self) -> bool {
        self.state.lock().run.interrupted.is_some()
    }

    /// The number of interrupts so far.
    pub fn count(&self) -> u64 {
        self.state.lock().interrupts
    }

    /// Whether the code may start. If so, it notices only interrupts from now on.
    pub fn may_start(&self) -> bool {
        let run = &mut self.state.lock().run;
        if let Some(counter) = &self.counter {
            counter.begin_cell();
        }
        if !run.running {
            return true;
        }
        run.prevented = run.interrupted.is_some();
        run.started |= !run.prevented;
        !run.prevented
    }

    /// The first interrupt asks the cell to stop; a second one kills its process after the grace
    /// period. `sent` is the sender's time, in microseconds.
    pub fn interrupt(self: &Arc<Self>, sent: i64) {
        let mut state = self.state.lock();
        state.interrupts += 1;
        let State { run, awaited, early, .. } = &mut *state;
        let Some(awaited) = awaited else {
            *early = Some(Early { arrived: Instant::now(), sent });
            return;
        };
        if awaited.abandoned {
            return;
        }
        if !(run.running && run.cell == awaited.cell) {
            // evcxr is still starting, or busy with an earlier cell.
            awaited.abandon();
            return;
        }
        if let Some(counter) = &self.counter {
            counter.increment();
        }
        let (cell, interrupter) = (run.cell, self.clone());
        match run.interrupted {
            None => {
                run.interrupted = Some(Instant::now());
                std::thread::spawn(move || interrupter.kill_compilers(cell));
            }
            Some(first) if run.started => {
                let left = GRACE.saturating_sub(first.elapsed());
                std::thread::spawn(move || {
                    std::thread::sleep(left);
                    interrupter.kill_process(cell);
                });
            }
            Some(_) => {}
        }
    }

    /// Kills every compiler that evcxr starts until the cell has ended.
    fn kill_compilers(&self, cell: u64) {
        let start = Instant::now();
        loop {
            {
                let mut state = self.state.lock();
                let State { run, awaited, .. } = &mut *state;
                if !run.running || run.cell != cell {
                    return;
                }
                if let Some(awaited) = awaited
                    && !run.started
                    && start.elapsed() > PATIENCE
                    && awaited.cell == cell
                    && !awaited.abandoned
                {
                    awaited.abandon();
                }
            }
            for process in processes::compilers() {
                let name =
                    std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
                if COMPILERS.contains(&name.trim()) {
                    processes::kill_tree(process);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill_process(&self, cell: u64) {
        let run = &mut self.state.lock().run;
        if run.running && run.cell == cell && !run.killed {
            run.killed = true;
            if let Some(group) = i32::try_from(run.process).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            // It may have left its group.
            processes::kill(run.process);
        }
    }
}

impl Awaited {
    fn abandon(&mut self) {
        self.abandoned = true;
        (self.tell_shell)();
    }
}

impl Early {
    fn applies_to(&self, request: &Request) -> bool {
        let sent = request.header.date.timestamp_micros();
        // A message without a date has that of the epoch.
        let sent_before = sent > 0 && sent < self.sent;
        let delay = request.arrived.saturating_duration_since(self.arrived);
        delay.is_zero() || (delay < MAX_DELAY && sent_before)
    }
}

#[cfg(test)]
#[path = "interrupter_tests.rs"]
mod tests;
