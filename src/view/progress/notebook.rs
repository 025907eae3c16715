//! Progress in a notebook of the qrnn kernel: one output, updated while the cell runs.

use super::live_line::LiveLine;
use super::live_table::LiveTable;
use super::live_training::LiveTraining;
use crate::notebook::LiveDisplay;
use crate::progress::{EpochReport, Progress, Silent, StepReport, Task, Unit};
use crate::terminal;

/// Shows a line for a task, a plot for a training run, a table for an experiment.
pub struct Notebook {
    shown: Box<dyn Progress>,
}

impl Notebook {
    /// `None` if this process does not run in the qrnn kernel.
    pub fn here() -> Option<Self> {
        LiveDisplay::in_notebook().map(|_| Self { shown: Box::new(Silent) })
    }
}

impl Progress for Notebook {
    fn start(&mut self, task: &Task) {
        if let Some(display) = LiveDisplay::in_notebook() {
            self.shown = match task.unit {
                Unit::Bytes | Unit::Tokens => Box::new(LiveLine::new(display, task)),
                Unit::Rows => Box::new(LiveTraining::new(display, task)),
                Unit::Runs => Box::new(LiveTable::new(display, task)),
            };
        }
    }

    fn advance(&mut self, by: u64) {
        self.shown.advance(by);
    }

    fn step(&mut self, step: &StepReport) {
        self.shown.step(step);
    }

    fn epoch(&mut self, report: &EpochReport, best: bool) {
        self.shown.epoch(report, best);
    }

    fn message(&mut self, text: &str) {
        terminal::note(text);
    }

    fn finish(&mut self) {
        self.shown.finish();
        self.shown = Box::new(Silent);
    }

    fn part(&mut self, label: &str) -> Box<dyn Progress> {
        self.shown.part(label)
    }
}
