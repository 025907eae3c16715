//! The board in a notebook: one table that changes while the runs go.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::train::{EpochReport, Observer, StepReport};
use crate::view::report::cells::{duration, escaped, perplexity_of};
use crate::view::show::{Bundle, Live};

/// Two updates a second at most.
const BETWEEN: Duration = Duration::from_millis(500);

/// Clones write in the same table.
#[derive(Debug, Clone)]
pub(super) struct NotebookBoard(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    live: Live,
    runs: usize,
    lines: Vec<Line>,
    started: Instant,
    due: Instant,
}

#[derive(Debug)]
struct Line {
    label: String,
    share: f64,
    says: String,
}

impl NotebookBoard {
    /// `None` where the cell is not run by our kernel.
    pub fn in_notebook() -> Option<Self> {
        let (live, now) = (Live::in_notebook()?, Instant::now());
        let table = Table { live, runs: 0, lines: vec![], started: now, due: now };
        Some(Self(Arc::new(Mutex::new(table))))
    }

    /// A poisoned table is still one to show.
    fn change(&self, at_once: bool, change: impl FnOnce(&mut Table)) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut table);
        let now = Instant::now();
        if at_once || now >= table.due {
            table.due = now + BETWEEN;
            table.show();
        }
    }

    pub fn begin(&self, runs: usize) {
        self.change(true, |table| (table.runs, table.started) = (runs, Instant::now()));
    }

    pub fn watcher(&self, label: &str) -> impl Observer + 'static {
        let mut line = 0;
        self.change(true, |table| {
            line = table.lines.len();
            table.lines.push(Line { label: label.into(), share: 0.0, says: String::new() });
        });
        Watcher { board: self.clone(), line, size: (1, 1), smooth: None }
    }

    pub fn done(&self, label: &str, outcome: &str) {
        self.change(true, |table| {
            if let Some(line) = table.lines.iter_mut().rev().find(|line| line.label == label) {
                (line.share, line.says) = (1.0, outcome.into());
            }
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
            let (label, says) = (escaped(&line.label), escaped(&line.says));
            let share = line.share;
            html += &format!(
                "<tr><td>{label}</td><td><progress value=\"{share:.3}\" max=\"1\"></progress></td>\
                 <td style=\"text-align:left\">{says}</td></tr>"
            );
            text += &format!("\n{:>14}  {:>3.0} %  {}", line.label, share * 100.0, line.says);
        }
        self.live.show(&Bundle::html(html + "</tbody></table>", text));
    }
}

/// Tells one run's line how it goes.
struct Watcher {
    board: NotebookBoard,
    line: usize,
    /// Epochs, and rows of each.
    size: (usize, usize),
    smooth: Option<f64>,
}

impl Observer for Watcher {
    fn begin(&mut self, epochs: usize, rows: usize) {
        self.size = (epochs, rows);
    }

    fn step(&mut self, step: &StepReport) {
        let smooth = self.smooth.map_or(step.loss, |loss| 0.95 * loss + 0.05 * step.loss);
        self.smooth = Some(smooth);
        let (epochs, rows) = self.size;
        let walked = (step.epoch - 1) * rows + step.row;
        // A run is done when its test is, not with its last step.
        let share = (walked as f64 / epochs.saturating_mul(rows).max(1) as f64).min(0.99);
        self.board.change(false, |table| {
            let line = &mut table.lines[self.line];
            line.share = share;
            line.says =
                format!("epoch {}, training perplexity {}", step.epoch, perplexity_of(smooth));
        });
    }

    fn epoch(&mut self, _: &EpochReport, _: bool) {}
}
