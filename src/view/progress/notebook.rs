//! Progress in a notebook of the qrnn kernel: one output, updated while the cell runs.

use super::live_line::LiveLine;
use super::live_table::{LiveTable, TableRow};
use super::live_training::LiveTraining;
use crate::notebook::LiveDisplay;
use crate::progress::{EpochReport, Progress, StepReport, Task, Unit};
use crate::terminal;

/// Shows a line for a task, a plot for a training run, a table for an experiment.
#[derive(Debug, Default)]
pub struct Notebook {
    display: Option<Display>,
}

#[derive(Debug)]
enum Display {
    Line(LiveLine),
    Training(Box<LiveTraining>),
    Table(LiveTable),
}

impl Notebook {
    /// `None` if this process does not run in the qrnn kernel.
    pub fn here() -> Option<Self> {
        LiveDisplay::in_notebook().map(|_| Self::default())
    }
}

impl Progress for Notebook {
    fn start(&mut self, task: &Task) {
        self.display = LiveDisplay::in_notebook().map(|display| match task.unit {
            Unit::Bytes | Unit::Tokens => Display::Line(LiveLine::new(display, task)),
            Unit::Rows => Display::Training(Box::new(LiveTraining::new(display, task))),
            Unit::Runs => Display::Table(LiveTable::new(display, task)),
        });
    }

    fn advance(&mut self, by: u64) {
        if let Some(Display::Line(line)) = &mut self.display {
            line.advance(by);
        }
    }

    fn step(&mut self, step: &StepReport) {
        if let Some(Display::Training(training)) = &mut self.display {
            training.step(step);
        }
    }

    fn epoch(&mut self, report: &EpochReport, _best: bool) {
        if let Some(Display::Training(training)) = &mut self.display {
            training.epoch(report);
        }
    }

    fn message(&mut self, text: &str) {
        terminal::note(text);
    }

    fn finish(&mut self) {
        match self.display.take() {
            Some(Display::Line(line)) => line.finish(),
            Some(Display::Training(training)) => training.finish(),
            Some(Display::Table(_)) | None => {}
        }
    }

    fn part(&mut self, label: &str) -> Box<dyn Progress> {
        match &self.display {
            Some(Display::Table(table)) => {
                Box::new(RunProgress { row: table.add_row(label), total: 1, smooth_loss: None })
            }
            _ => Box::new(crate::progress::Silent),
        }
    }
}

/// A training run of an experiment, shown as a row of its table.
struct RunProgress {
    row: TableRow,
    /// Rows of batches, over all epochs.
    total: u64,
    smooth_loss: Option<f64>,
}

impl Progress for RunProgress {
    fn start(&mut self, task: &Task) {
        self.total = task.total.unwrap_or(1).max(1);
    }

    fn step(&mut self, step: &StepReport) {
        let smooth = self.smooth_loss.map_or(step.loss, |loss| 0.95 * loss + 0.05 * step.loss);
        self.smooth_loss = Some(smooth);
        let done = ((step.epoch - 1) * step.rows + step.row) as f64;
        self.row.training(done / self.total as f64, step.epoch, smooth);
    }

    fn message(&mut self, text: &str) {
        self.row.done(text);
    }
}
