//! A live plot in a notebook for a training run: loss, perplexity, speed and remaining time.

use std::time::Instant;

use crate::format::{duration, perplexity_of, thousands};
use crate::notebook::{LiveDisplay, MimeBundle};
use crate::progress::{EpochReport, Progress, StepReport, Task};
use crate::view::plot;
use crate::view::show::WIDTH;

#[derive(Debug)]
pub struct LiveTraining {
    display: LiveDisplay,
    /// Rows of batches, over all epochs.
    total: u64,
    started: Instant,
    /// Fraction of the work at the first update; above 0 for a resumed run.
    initial_fraction: Option<f64>,
    /// (step, loss) pairs of training and validation.
    losses: Vec<(f64, f64)>,
    valid: Vec<(f64, f64)>,
    last: Option<StepReport>,
}

impl LiveTraining {
    pub fn new(display: LiveDisplay, task: &Task) -> Self {
        Self {
            display,
            total: task.total.unwrap_or(1).max(1),
            started: Instant::now(),
            initial_fraction: None,
            losses: vec![],
            valid: vec![],
            last: None,
        }
    }

    fn show(&mut self, step: &StepReport, finished: bool) {
        let fraction = (step.rows_done() as f64 / self.total as f64).min(1.0);
        let elapsed = self.started.elapsed().as_secs_f64();
        let initial = *self.initial_fraction.get_or_insert(fraction);
        let time = if finished {
            format!("{} total", duration(elapsed))
        } else if fraction > initial {
            format!("{} left", duration(elapsed * (1.0 - fraction) / (fraction - initial)))
        } else {
            "started".into()
        };
        let valid = self.valid.last().map_or_else(String::new, |(_, loss)| {
            format!(" · validation perplexity {}", perplexity_of(*loss))
        });
        let status = format!(
            "epoch {} of {} · {:.0} % · {} tokens/s · {time}{valid}",
            step.epoch,
            self.total / (step.rows as u64).max(1),
            fraction * 100.0,
            thousands(step.tokens_per_second.max(0.0) as u64),
        );
        let plot = plot::training_progress(&status, fraction, &self.losses, &self.valid);
        let text = format!("{status} · loss {:.3}", step.loss);
        self.display.show(&MimeBundle::svg(plot.svg_of_width(WIDTH), text));
    }
}

impl Progress for LiveTraining {
    fn step(&mut self, step: &StepReport) {
        self.losses.push((step.step as f64, step.loss));
        if self.last.replace(*step).is_none() || self.display.is_due() {
            self.show(step, false);
        }
    }

    fn epoch(&mut self, report: &EpochReport, _best: bool) {
        if let Some(last) = self.last {
            self.valid.push((last.step as f64, report.valid_loss));
        }
    }

    fn finish(&mut self) {
        if let Some(last) = self.last {
            self.show(&last, true);
        }
    }
}
