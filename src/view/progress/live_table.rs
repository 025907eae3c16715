//! A progress table in a notebook for an experiment, with a row per run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use maud::html;

use super::smooth_loss::SmoothLoss;
use crate::format::{duration, perplexity_of};
use crate::notebook::{LiveDisplay, MimeBundle};
use crate::progress::{Progress, StepReport, Task};
use crate::view::html::progress;

/// The table of an experiment.
#[derive(Debug)]
pub struct LiveTable(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    display: LiveDisplay,
    runs: u64,
    /// Runs that were finished before.
    before: usize,
    rows: Vec<Row>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Row {
    label: String,
    fraction: f64,
    status: String,
}

impl LiveTable {
    pub fn new(display: LiveDisplay, task: &Task) -> Self {
        let (runs, started) = (task.total.unwrap_or(0), Instant::now());
        let mut table = Table { display, runs, before: task.done as usize, rows: vec![], started };
        table.show();
        Self(Arc::new(Mutex::new(table)))
    }
}

impl Progress for LiveTable {
    fn part(&mut self, label: &str) -> Box<dyn Progress> {
        let mut table = lock(&self.0);
        table.rows.push(Row { label: label.into(), ..Row::default() });
        table.show();
        let (index, table) = (table.rows.len() - 1, self.0.clone());
        Box::new(TableRow { table, index, total: 1, smooth_loss: SmoothLoss::default() })
    }
}

/// Locks the table even if a thread panicked while it held the lock.
fn lock(table: &Mutex<Table>) -> std::sync::MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The row of one run.
struct TableRow {
    table: Arc<Mutex<Table>>,
    index: usize,
    /// Rows of batches, over all epochs.
    total: u64,
    smooth_loss: SmoothLoss,
}

impl Progress for TableRow {
    fn start(&mut self, task: &Task) {
        self.total = task.total.unwrap_or(1).max(1);
    }

    fn step(&mut self, step: &StepReport) {
        let perplexity = perplexity_of(self.smooth_loss.add(step.loss));
        let mut table = lock(&self.table);
        let row = &mut table.rows[self.index];
        // The run ends after its test, not after its last step.
        row.fraction = (step.rows_done() as f64 / self.total as f64).min(0.99);
        row.status = format!("epoch {}, training perplexity {perplexity}", step.epoch);
        if table.display.is_due() {
            table.show();
        }
    }

    /// The outcome of the run.
    fn message(&mut self, text: &str) {
        let mut table = lock(&self.table);
        let row = &mut table.rows[self.index];
        (row.fraction, row.status) = (1.0, text.into());
        table.show();
    }
}

impl Table {
    fn show(&mut self) {
        let done = self.before + self.rows.iter().filter(|row| row.fraction >= 1.0).count();
        let time = duration(self.started.elapsed().as_secs_f64());
        let header = format!("{done} of {} runs, {time}", self.runs);
        let html = html! {
            table {
                thead { tr { th { "run" } th { (header) } th {} } }
                tbody {
                    @for Row { label, fraction, status } in &self.rows {
                        tr {
                            td { (label) }
                            td { (progress(Some(*fraction))) }
                            td style="text-align:left" { (status) }
                        }
                    }
                }
            }
        };
        let mut text = header;
        for Row { label, fraction, status } in &self.rows {
            text += &format!("\n{label:>14}  {:>3.0} %  {status}", fraction * 100.0);
        }
        self.display.show(&MimeBundle::html(html, text));
    }
}
