//! A progress table in a notebook for an experiment, with a row per run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use maud::html;

use crate::format::{duration, perplexity_of};
use crate::notebook::{LiveDisplay, MimeBundle};
use crate::progress::Task;
use crate::view::html::progress;

/// Minimum time between updates.
const UPDATE_INTERVAL: Duration = Duration::from_millis(500);

/// The table of an experiment. Clones refer to the same table.
#[derive(Debug, Clone)]
pub struct LiveTable(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    display: LiveDisplay,
    runs: u64,
    rows: Vec<Row>,
    started: Instant,
    next_update: Instant,
}

#[derive(Debug)]
struct Row {
    label: String,
    fraction: f64,
    status: String,
}

/// The row of one run.
#[derive(Debug)]
pub struct TableRow {
    table: LiveTable,
    index: usize,
}

impl LiveTable {
    pub fn new(display: LiveDisplay, task: &Task) -> Self {
        let (now, runs) = (Instant::now(), task.total.unwrap_or(0));
        let table = Table { display, runs, rows: vec![], started: now, next_update: now };
        let table = Self(Arc::new(Mutex::new(table)));
        table.change(true, |_| ());
        table
    }

    pub fn add_row(&self, label: &str) -> TableRow {
        let mut index = 0;
        self.change(true, |table| {
            index = table.rows.len();
            table.rows.push(Row { label: label.into(), fraction: 0.0, status: String::new() });
        });
        TableRow { table: self.clone(), index }
    }

    fn change(&self, immediately: bool, change: impl FnOnce(&mut Table)) {
        // Works even if a thread panicked while it held the lock.
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut table);
        let now = Instant::now();
        if immediately || now >= table.next_update {
            table.next_update = now + UPDATE_INTERVAL;
            table.show();
        }
    }
}

impl TableRow {
    /// Updates the row: `fraction` of the training that is done, and the loss in nats per token.
    pub fn training(&self, fraction: f64, epoch: usize, loss: f64) {
        self.table.change(false, |table| {
            let row = &mut table.rows[self.index];
            // The run ends after its test, not after its last step.
            row.fraction = fraction.min(0.99);
            row.status = format!("epoch {epoch}, training perplexity {}", perplexity_of(loss));
        });
    }

    /// Marks the run as finished.
    pub fn done(&self, outcome: &str) {
        self.table.change(true, |table| {
            let row = &mut table.rows[self.index];
            (row.fraction, row.status) = (1.0, outcome.into());
        });
    }
}

impl Table {
    fn show(&mut self) {
        let done = self.rows.iter().filter(|row| row.fraction >= 1.0).count();
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
