//! Progress in a notebook of our kernel: one output that changes while the cell runs.

use super::live_line::LiveLine;
use super::live_table::{LiveTable, TableLine};
use super::live_training::LiveTraining;
use crate::notebook::LiveDisplay;
use crate::progress::{EpochReport, Progress, StepReport, Task, Unit};
use crate::terminal;

/// A line for a task, a picture for a training run, a table for an experiment.
#[derive(Debug, Default)]
pub struct Notebook {
    shown: Option<Shown>,
}

#[derive(Debug)]
enum Shown {
    Line(LiveLine),
    Training(Box<LiveTraining>),
    Table(LiveTable),
}

impl Notebook {
    /// `None` where our kernel does not run this process.
    pub fn here() -> Option<Self> {
        LiveDisplay::in_notebook().map(|_| Self::default())
    }
}

impl Progress for Notebook {
    fn start(&mut self, task: &Task) {
        self.shown = LiveDisplay::in_notebook().map(|live| match task.unit {
            Unit::Bytes | Unit::Tokens => Shown::Line(LiveLine::new(live, task)),
            Unit::Rows => Shown::Training(Box::new(LiveTraining::new(live, task))),
            Unit::Runs => Shown::Table(LiveTable::new(live, task)),
        });
    }

    fn advance(&mut self, by: u64) {
        if let Some(Shown::Line(line)) = &mut self.shown {
            line.advance(by);
        }
    }

    fn step(&mut self, step: &StepReport) {
        if let Some(Shown::Training(training)) = &mut self.shown {
            training.step(step);
        }
    }

    fn epoch(&mut self, report: &EpochReport, _best: bool) {
        if let Some(Shown::Training(training)) = &mut self.shown {
            training.epoch(report);
        }
    }

    fn message(&mut self, text: &str) {
        terminal::note(text);
    }

    fn finish(&mut self) {
        match self.shown.take() {
            Some(Shown::Line(line)) => line.finish(),
            Some(Shown::Training(training)) => training.finish(),
            Some(Shown::Table(_)) | None => {}
        }
    }

    fn part(&mut self, label: &str) -> Box<dyn Progress> {
        match &self.shown {
            Some(Shown::Table(table)) => {
                Box::new(Part { line: table.line(label), total: 1, smooth: None })
            }
            _ => Box::new(crate::progress::Silent),
        }
    }
}

/// One training run of an experiment: a line of its table.
struct Part {
    line: TableLine,
    /// Rows of all epochs.
    total: u64,
    smooth: Option<f64>,
}

impl Progress for Part {
    fn start(&mut self, task: &Task) {
        self.total = task.total.unwrap_or(1).max(1);
    }

    fn step(&mut self, step: &StepReport) {
        let smooth = self.smooth.map_or(step.loss, |loss| 0.95 * loss + 0.05 * step.loss);
        self.smooth = Some(smooth);
        let done = ((step.epoch - 1) * step.rows + step.row) as f64;
        self.line.training(done / self.total as f64, step.epoch, smooth);
    }

    fn message(&mut self, text: &str) {
        self.line.done(text);
    }
}
