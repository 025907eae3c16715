//! An experiment in a table that changes: a line for each of its runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::format::{duration, perplexity_of};
use crate::notebook::{LiveDisplay, MimeBundle};
use crate::progress::Task;
use crate::view::html::escaped;

/// Two updates a second at most.
const BETWEEN: Duration = Duration::from_millis(500);

/// Clones write to the same table.
#[derive(Debug, Clone)]
pub struct LiveTable(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    live: LiveDisplay,
    runs: u64,
    lines: Vec<Line>,
    started: Instant,
    due: Instant,
}

#[derive(Debug)]
struct Line {
    label: String,
    share: f64,
    status: String,
}

/// One line of the table.
#[derive(Debug)]
pub struct TableLine {
    table: LiveTable,
    index: usize,
}

impl LiveTable {
    pub fn new(live: LiveDisplay, task: &Task) -> Self {
        let (now, runs) = (Instant::now(), task.total.unwrap_or(0));
        let table = Table { live, runs, lines: vec![], started: now, due: now };
        let table = Self(Arc::new(Mutex::new(table)));
        table.change(true, |_| ());
        table
    }

    pub fn line(&self, label: &str) -> TableLine {
        let mut index = 0;
        self.change(true, |table| {
            index = table.lines.len();
            table.lines.push(Line { label: label.into(), share: 0.0, status: String::new() });
        });
        TableLine { table: self.clone(), index }
    }

    fn change(&self, at_once: bool, change: impl FnOnce(&mut Table)) {
        // A table that a panicking thread left can still be shown.
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut table);
        let now = Instant::now();
        if at_once || now >= table.due {
            table.due = now + BETWEEN;
            table.show();
        }
    }
}

impl TableLine {
    /// * `share` of the training steps that are done; `loss`: in nats per token.
    pub fn training(&self, share: f64, epoch: usize, loss: f64) {
        self.table.change(false, |table| {
            let line = &mut table.lines[self.index];
            // A run is done when its test is, not with its last step.
            line.share = share.min(0.99);
            line.status = format!("epoch {epoch}, training perplexity {}", perplexity_of(loss));
        });
    }

    pub fn done(&self, outcome: &str) {
        self.table.change(true, |table| {
            let line = &mut table.lines[self.index];
            (line.share, line.status) = (1.0, outcome.into());
        });
    }
}

impl Table {
    fn show(&mut self) {
        let done = self.lines.iter().filter(|line| line.share >= 1.0).count();
        let time = duration(self.started.elapsed().as_secs_f64());
        let head = format!("{done} of {} runs, {time}", self.runs);
        let mut html =
            format!("<table><thead><tr><th>run</th><th>{head}</th><th></th></tr></thead>");
        html += "<tbody>";
        let mut text = head;
        for line in &self.lines {
            let (label, status) = (escaped(&line.label), escaped(&line.status));
            let share = line.share;
            html += &format!(
                "<tr><td>{label}</td><td><progress value=\"{share:.3}\" max=\"1\"></progress></td>\
                 <td style=\"text-align:left\">{status}</td></tr>"
            );
            text += &format!("\n{:>14}  {:>3.0} %  {}", line.label, share * 100.0, line.status);
        }
        self.live.show(&MimeBundle::html(html + "</tbody></table>", text));
    }
}
