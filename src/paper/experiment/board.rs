//! What a user sees of an experiment while it goes: a bar for all runs, one for each at work; in a
//! notebook of our kernel a table.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::notebook_board::NotebookBoard;
use crate::terminal;
use crate::train::{EpochReport, Observer, StepReport, Terminal};
use crate::view::report::Measured;
use crate::view::report::cells::perplexity_in_text;

/// Bars in a terminal; a line a finished run elsewhere.
#[derive(Debug)]
pub struct Board {
    bars: MultiProgress,
    all: ProgressBar,
    notebook: Option<NotebookBoard>,
}

impl Default for Board {
    fn default() -> Self {
        let bars = MultiProgress::new();
        let all = bars.add(ProgressBar::new(0));
        // The template is fixed, so it cannot be refused; a plain bar would do as well.
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix:>14} {bar:28.green/dim} {pos}/{len} runs  {elapsed}",
        ) {
            all.set_style(style.progress_chars("━━╌"));
        }
        all.set_prefix("all");
        Self { bars, all, notebook: NotebookBoard::in_notebook() }
    }
}

impl Board {
    pub(super) fn begin(&self, runs: usize) {
        if let Some(notebook) = &self.notebook {
            return notebook.begin(runs);
        }
        self.all.set_length(runs as u64);
        self.all.enable_steady_tick(Duration::from_millis(250));
    }

    pub(super) fn watcher(&self, label: &str) -> Box<dyn Observer> {
        if let Some(notebook) = &self.notebook {
            return Box::new(notebook.watcher(label));
        }
        let bar = self.bars.insert_before(&self.all, ProgressBar::new(0));
        bar.set_prefix(label.to_owned());
        Box::new(Watcher(Terminal::on(bar)))
    }

    pub(super) fn done(&self, label: &str, measured: &Measured) {
        self.all.inc(1);
        let outcome = match measured.interrupted {
            true => "interrupted".to_owned(),
            false => format!("test perplexity {}", perplexity_in_text(measured.test_loss)),
        };
        if let Some(notebook) = &self.notebook {
            return notebook.done(label, &format!("{outcome} in {:.1} s", measured.seconds));
        }
        let line = format!("{label:>14}  {outcome}  in {:.1} s", measured.seconds);
        if self.all.is_hidden() {
            terminal::note(line);
        } else {
            self.all.println(line);
        }
    }

    pub(super) fn end(&self) {
        self.all.finish_and_clear();
    }
}

/// One run's bar, without a line an epoch: there are many runs.
struct Watcher(Terminal);

impl Observer for Watcher {
    fn begin(&mut self, epochs: usize, rows: usize) {
        self.0.begin(epochs, rows);
    }

    fn step(&mut self, step: &StepReport) {
        self.0.step(step);
    }

    fn epoch(&mut self, _: &EpochReport, _: bool) {}

    fn end(&mut self) {
        self.0.end();
    }
}
