//! Interrupts: a request that long work notices, and an end to code that does not.
//!
//! A cell is interrupted from the moment that its request has come. Until its code starts, nobody
//! waits longer than [`PATIENCE`] for what is under way: the compilers are stopped, and where that
//! does not end the cell, or where its turn has not come yet, the shell goes on without it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::child::interrupt::counter::Interrupts;
use crate::child::processes;
use crate::protocol::message::Request;

/// How long code has to notice a first interrupt before a second one ends its process.
const GRACE: Duration = Duration::from_secs(1);
/// How long a cell whose code has not started has to end by itself.
const PATIENCE: Duration = Duration::from_millis(400);
/// Requests for cells and interrupts come by different ways. An interrupt that finds no cell counts
/// for one that was sent before it and that comes no later than this.
const LATE: Duration = Duration::from_secs(1);
/// What evcxr starts to prepare a cell.
const PREPARING: [&str; 3] = ["cargo", "mold", "sh"];

#[derive(Debug)]
pub struct Interrupter {
    /// None where the kernel could not prepare itself, and no code will ever run.
    interrupts: Option<Interrupts>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    run: Run,
    awaited: Option<Awaited>,
    /// Cells so far.
    cells: u64,
    /// Interrupts so far.
    seen: u64,
    /// The last interrupt that found no cell.
    early: Option<Early>,
}

/// What the evaluator works on.
#[derive(Debug, Default)]
struct Run {
    cell: u64,
    running: bool,
    /// When it was first interrupted.
    asked: Option<Instant>,
    /// Compiled code of the cell was started.
    started: bool,
    /// Compiled code of the cell was not started, as the interrupt came before.
    before_it_ran: bool,
    /// A second interrupt ended the process.
    ended: bool,
    process: u32,
}

/// The cell that the shell waits for.
struct Awaited {
    cell: u64,
    /// Tells the shell to go on without it.
    give_up: Box<dyn Fn() + Send>,
    given_up: bool,
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cell {}, given up: {}", self.cell, self.given_up)
    }
}

#[derive(Debug)]
struct Early {
    came: Instant,
    /// By the sender's clock, in microseconds.
    sent: i64,
}

/// What became of a cell's interrupts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Asked {
    pub interrupted: bool,
    /// It was compiled, and its code never started.
    pub before_it_ran: bool,
    /// Some of its code was started.
    pub started: bool,
    /// The process was ended for it.
    pub ended: bool,
}

impl Interrupter {
    pub fn new(interrupts: Option<Interrupts>) -> Arc<Self> {
        Arc::new(Self { interrupts, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From now on the shell waits for this cell; its number. `give_up` is called where the shell is
    /// to go on without it.
    pub fn accept(&self, request: &Request, give_up: impl Fn() + Send + 'static) -> u64 {
        let mut state = self.lock();
        state.cells += 1;
        let cell = state.cells;
        let hit = state.early.take().is_some_and(|early| early.hits(request));
        if hit {
            give_up();
        }
        state.awaited = Some(Awaited { cell, give_up: Box::new(give_up), given_up: hit });
        cell
    }

    /// The shell has the cell's outcome, or has gone on without it.
    pub fn answered(&self) {
        self.lock().awaited = None;
    }

    /// Whether the evaluator may begin with a cell, as the shell still waits for it.
    pub fn begin(&self, cell: u64, process: u32) -> bool {
        let mut state = self.lock();
        let waits = state.awaited.as_ref().is_some_and(|a| a.cell == cell && !a.given_up);
        if waits {
            state.run = Run { cell, running: true, process, ..Run::default() };
        }
        waits
    }

    pub fn end(&self) -> Asked {
        let mut state = self.lock();
        let run = &mut state.run;
        run.running = false;
        Asked {
            interrupted: run.asked.is_some(),
            before_it_ran: run.before_it_ran,
            started: run.started,
            ended: run.ended,
        }
    }

    pub fn is_asked(&self) -> bool {
        self.lock().run.asked.is_some()
    }

    /// How many interrupts there were.
    pub fn seen(&self) -> u64 {
        self.lock().seen
    }

    /// Asked when compiled code is about to start: it would not notice what came before.
    pub fn may_run(&self) -> bool {
        let run = &mut self.lock().run;
        if !run.running {
            return true;
        }
        run.before_it_ran = run.asked.is_some();
        run.started |= !run.before_it_ran;
        !run.before_it_ran
    }

    /// The first asks the cell to end; a later one ends its process once the time is up. `sent` is
    /// the sender's clock, in microseconds.
    pub fn interrupt(self: &Arc<Self>, sent: i64) {
        let mut state = self.lock();
        state.seen += 1;
        let State { run, awaited, early, .. } = &mut *state;
        let Some(awaited) = awaited else {
            *early = Some(Early { came: Instant::now(), sent });
            return;
        };
        if awaited.given_up {
            return;
        }
        if !(run.running && run.cell == awaited.cell) {
            // Its turn has not come: the evaluator starts, or is not done with one before.
            awaited.given_up = true;
            (awaited.give_up)();
            return;
        }
        if let Some(interrupts) = &self.interrupts {
            interrupts.count();
        }
        let (cell, asked) = (run.cell, run.asked);
        let interrupter = self.clone();
        match asked {
            None => {
                run.asked = Some(Instant::now());
                std::thread::spawn(move || interrupter.stop_preparing(cell));
            }
            Some(asked) if run.started => {
                let left = GRACE.saturating_sub(asked.elapsed());
                std::thread::spawn(move || {
                    std::thread::sleep(left);
                    interrupter.end_process(cell);
                });
            }
            Some(_) => {}
        }
    }

    /// Until the cell has ended, stops each compiler as it comes: evcxr starts several.
    fn stop_preparing(&self, cell: u64) {
        let asked = Instant::now();
        loop {
            {
                let mut state = self.lock();
                let State { run, awaited, .. } = &mut *state;
                if !run.running || run.cell != cell {
                    return;
                }
                let late = !run.started && asked.elapsed() > PATIENCE;
                if let Some(awaited) = awaited
                    && late
                    && awaited.cell == cell
                    && !awaited.given_up
                {
                    awaited.given_up = true;
                    (awaited.give_up)();
                }
            }
            for helper in processes::helpers() {
                let name =
                    std::fs::read_to_string(format!("/proc/{helper}/comm")).unwrap_or_default();
                if PREPARING.contains(&name.trim()) {
                    processes::end_tree(helper);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end_process(&self, cell: u64) {
        let run = &mut self.lock().run;
        if run.running && run.cell == cell && !run.ended {
            run.ended = true;
            if let Some(group) = i32::try_from(run.process).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            // By its own number too, in case that it has left its group.
            processes::end(run.process);
        }
    }
}

impl Early {
    fn hits(&self, request: &Request) -> bool {
        let sent = request.header.date.timestamp_micros();
        // A message without a date has that of the epoch.
        let sent_before = sent > 0 && sent < self.sent;
        let late = request.arrived.saturating_duration_since(self.came);
        late.is_zero() || (late < LATE && sent_before)
    }
}

#[cfg(test)]
#[path = "interrupter_tests.rs"]
mod tests;
