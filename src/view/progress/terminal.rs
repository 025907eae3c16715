//! Progress on standard error: bars in a terminal, lines otherwise.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::smooth_loss::SmoothLoss;
use crate::format::{megabytes, perplexity_in_text};
use crate::progress::{EpochReport, Progress, StepReport, Task, Unit};
use crate::terminal;

/// Time between progress lines of a download without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows a bar for the task, and one above it for each part. If standard error is not a terminal, prints a
/// line per epoch, per message, and every few seconds of a download.
#[derive(Debug)]
pub struct Terminal {
    bars: MultiProgress,
    bar: ProgressBar,
    task: Option<Task>,
    smooth_loss: SmoothLoss,
    /// Label of a part, which prints no line per epoch, since there are many parts.
    label: Option<String>,
    last_line: Instant,
}

impl Default for Terminal {
    fn default() -> Self {
        let bars = MultiProgress::new();
        let bar = bars.add(ProgressBar::new(0));
        Self::new(bars, bar, None)
    }
}

impl Terminal {
    fn new(bars: MultiProgress, bar: ProgressBar, label: Option<String>) -> Self {
        let (smooth_loss, last_line) = (SmoothLoss::default(), Instant::now());
        Self { bars, bar, task: None, smooth_loss, label, last_line }
    }

    fn print(&self, line: &str) {
        if self.bar.is_hidden() {
            terminal::note(line);
        } else {
            // `ProgressBar::println` would draw a bar that has not started.
            let _ = self.bars.println(line);
        }
    }

    /// Prints the progress of a download as a line.
    fn print_bytes(&mut self) {
        let Some(Task { label, unit: Unit::Bytes, done, total }) = &self.task else { return };
        let total = total.map(|total| format!(" of {}", megabytes(total))).unwrap_or_default();
        terminal::note(format_args!("{label}: {}{total}", megabytes(*done)));
        self.last_line = Instant::now();
    }
}

fn template(task: &Task) -> &'static str {
    match (task.unit, task.total) {
        (Unit::Bytes, Some(_)) => {
            "{prefix:>11} {bar:28.cyan/dim} {percent:>3} %  {decimal_bytes} of \
             {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left"
        }
        (Unit::Bytes, None) => "{prefix:>11} {spinner} {decimal_bytes}  {decimal_bytes_per_sec}",
        (Unit::Runs, _) => "{prefix:>14} {bar:28.green/dim} {pos}/{len} runs  {elapsed}",
        (Unit::Rows | Unit::Tokens, _) => {
            "{prefix:>14} {bar:28.cyan/dim} {percent:>3} %  {msg}  {eta:>4} left"
        }
    }
}

impl Progress for Terminal {
    fn start(&mut self, task: &Task) {
        self.task = Some(task.clone());
        // The templates are constant and valid.
        if let Ok(style) = ProgressStyle::with_template(template(task)) {
            self.bar.set_style(style.progress_chars("━━╌"));
        }
        self.bar.reset();
        self.bar.set_prefix(self.label.clone().unwrap_or_else(|| task.label.clone()));
        if let Some(total) = task.total {
            self.bar.set_length(total);
        }
        self.bar.set_position(task.done);
        // Speed and remaining time do not count work that was done before.
        self.bar.reset_eta();
        if self.bar.is_hidden() {
            self.print_bytes();
        } else if task.unit != Unit::Bytes {
            self.bar.enable_steady_tick(Duration::from_millis(250));
        }
    }

    fn advance(&mut self, by: u64) {
        let Some(task) = &mut self.task else { return };
        task.done += by;
        self.bar.set_position(task.done);
        if self.bar.is_hidden() && self.last_line.elapsed() >= LINE_INTERVAL {
            self.print_bytes();
        }
    }

    fn step(&mut self, step: &StepReport) {
        let smooth = self.smooth_loss.add(step.loss);
        self.bar.set_position(step.rows_done());
        self.bar.set_message(format!(
            "epoch {}  loss {smooth:.3}  ppl {:>6}  {:>6.0} tokens/s",
            step.epoch,
            perplexity_in_text(smooth),
            step.tokens_per_second
        ));
    }

    fn epoch(&mut self, report: &EpochReport, best: bool) {
        if self.label.is_some() {
            return;
        }
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

    fn message(&mut self, text: &str) {
        match &self.label {
            Some(label) => self.print(&format!("{label:>14}  {text}")),
            None => self.print(text),
        }
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }

    fn part(&mut self, label: &str) -> Box<dyn Progress> {
        let bars = self.bars.clone();
        let bar = bars.insert_before(&self.bar, ProgressBar::new(0));
        Box::new(Self::new(bars, bar, Some(label.into())))
    }
}
