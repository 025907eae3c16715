//! What a user sees of a run while it goes.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::metrics::EpochReport;

use crate::terminal;
use crate::view::report::cells::perplexity_in_text;

/// Told of a run's steps and epochs. All methods may be left as they are.
pub trait Observer: Send {
    /// A run begins: its number of epochs, and of rows an epoch walks down.
    fn begin(&mut self, _epochs: usize, _rows: usize) {}
    /// A step was given to the device, which may be at work on it, and on those before it, still.
    fn given(&mut self) {}
    /// A step was done.
    fn step(&mut self, _step: &StepReport) {}
    /// An epoch was done; `best` where its validation loss is the lowest so far.
    fn epoch(&mut self, _report: &EpochReport, _best: bool) {}
    /// Something that the user should know and that does not stop the run, in a sentence.
    fn notice(&mut self, _text: &str) {}
    /// The run is over.
    fn end(&mut self) {}
}

impl Observer for Box<dyn Observer> {
    fn begin(&mut self, epochs: usize, rows: usize) {
        (**self).begin(epochs, rows);
    }

    fn given(&mut self) {
        (**self).given();
    }

    fn step(&mut self, step: &StepReport) {
        (**self).step(step);
    }

    fn epoch(&mut self, report: &EpochReport, best: bool) {
        (**self).epoch(report, best);
    }

    fn notice(&mut self, text: &str) {
        (**self).notice(text);
    }

    fn end(&mut self) {
        (**self).end();
    }
}

/// What is known after a step.
#[derive(Debug, Clone, Copy)]
pub struct StepReport {
    /// Steps done since the beginning of the run.
    pub step: u64,
    /// Counted from 1.
    pub epoch: usize,
    /// Rows of this epoch walked down.
    pub row: usize,
    /// Cross entropy of this step, in nats a word.
    pub loss: f64,
    /// Learning rate of this step.
    pub rate: f64,
    /// Words trained on, a second, of late.
    pub tokens_per_second: f64,
}

/// Shows nothing.
#[derive(Debug, Default)]
pub struct Quiet;

impl Observer for Quiet {}

/// A bar with loss, perplexity, rate and time left in a terminal; a line an epoch elsewhere.
#[derive(Debug)]
pub struct Terminal {
    bar: ProgressBar,
    rows: usize,
    smooth_loss: Option<f64>,
}

impl Default for Terminal {
    fn default() -> Self {
        Self::on(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()))
    }
}

impl Terminal {
    /// Shows on a bar of the caller's, one of several perhaps.
    pub fn on(bar: ProgressBar) -> Self {
        // The template is fixed, so it cannot be refused; a plain bar would do as well.
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix:>14} {bar:28.cyan/dim} {percent:>3} %  {msg}  {eta:>4} left",
        ) {
            bar.set_style(style.progress_chars("━━╌"));
        }
        Self { bar, rows: 0, smooth_loss: None }
    }

    fn print(&self, line: &str) {
        if self.bar.is_hidden() {
            terminal::note(line);
        } else {
            self.bar.println(line);
        }
    }
}

impl Observer for Terminal {
    fn begin(&mut self, epochs: usize, rows: usize) {
        self.rows = rows;
        self.bar.set_length(epochs.saturating_mul(rows) as u64);
        self.bar.enable_steady_tick(Duration::from_millis(250));
    }

    fn step(&mut self, step: &StepReport) {
        let smooth = self.smooth_loss.map_or(step.loss, |loss| 0.95 * loss + 0.05 * step.loss);
        self.smooth_loss = Some(smooth);
        self.bar.set_position(((step.epoch - 1) * self.rows + step.row) as u64);
        self.bar.set_message(format!(
            "epoch {}  loss {smooth:.3}  ppl {:>6}  {:>6.0} words/s",
            step.epoch,
            perplexity_in_text(smooth),
            step.tokens_per_second
        ));
    }

    fn epoch(&mut self, report: &EpochReport, best: bool) {
        self.print(&format!(
            "epoch {:>3}  train loss {:.4}  valid loss {:.4}  valid ppl {:>8}  {:>7.1} s{}",
            report.epoch,
            report.train_loss,
            report.valid_loss,
            perplexity_in_text(report.valid_loss),
            report.seconds,
            if best { "  best so far" } else { "" }
        ));
    }

    fn notice(&mut self, text: &str) {
        self.print(text);
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }
}
