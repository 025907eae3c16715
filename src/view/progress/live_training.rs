//! A live plot in a notebook for a training run: loss, perplexity, speed and remaining time.

use std::time::{Duration, Instant};

use crate::format::{duration, perplexity_of, thousands};
use crate::notebook::{LiveDisplay, MimeBundle};
use crate::progress::{EpochReport, StepReport, Task};
use crate::view::plot;
use crate::view::show::WIDTH;

/// Minimum time between updates.
const UPDATE_INTERVAL: Duration = Duration::from_millis(500);

/// A curve of twice as many points is thinned to half.
const POINTS: usize = 400;

#[derive(Debug)]
pub struct LiveTraining {
    display: LiveDisplay,
    /// Rows of batches, over all epochs.
    total: u64,
    started: Instant,
    /// Fraction of the work at the first update; above 0 for a resumed run.
    initial_fraction: Option<f64>,
    next_update: Instant,
    curve: Curve,
    valid: Vec<(f64, f64)>,
    last: Option<StepReport>,
}

impl LiveTraining {
    pub fn new(display: LiveDisplay, task: &Task) -> Self {
        let now = Instant::now();
        Self {
            display,
            total: task.total.unwrap_or(1).max(1),
            started: now,
            initial_fraction: None,
            next_update: now,
            curve: Curve::default(),
            valid: vec![],
            last: None,
        }
    }

    pub fn step(&mut self, step: &StepReport) {
        self.last = Some(*step);
        self.curve.add(step.step as f64, step.loss);
        let now = Instant::now();
        if now >= self.next_update {
            self.next_update = now + UPDATE_INTERVAL;
            self.show(step, false);
        }
    }

    pub fn epoch(&mut self, report: &EpochReport) {
        if let Some(last) = self.last {
            self.valid.push((last.step as f64, report.valid_loss));
        }
    }

    pub fn finish(mut self) {
        if let Some(last) = self.last {
            self.show(&last, true);
        }
    }

    fn show(&mut self, step: &StepReport, finished: bool) {
        let done = ((step.epoch - 1) * step.rows + step.row) as f64;
        let fraction = (done / self.total as f64).min(1.0);
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
        let plot = plot::training_progress(&status, fraction, &self.curve.points, &self.valid);
        let text = format!("{status} · loss {:.3}", self.curve.latest);
        self.display.show(&MimeBundle::svg(plot.svg_of_width(WIDTH), text));
    }
}

/// Losses by step. Each point is the mean of `steps_per_point` steps, which doubles as the run grows.
#[derive(Debug)]
struct Curve {
    points: Vec<(f64, f64)>,
    steps_per_point: usize,
    sum: f64,
    summed: usize,
    latest: f64,
}

impl Default for Curve {
    fn default() -> Self {
        Self { points: vec![], steps_per_point: 1, sum: 0.0, summed: 0, latest: f64::NAN }
    }
}

impl Curve {
    fn add(&mut self, step: f64, loss: f64) {
        (self.sum, self.summed, self.latest) = (self.sum + loss, self.summed + 1, loss);
        if self.summed < self.steps_per_point {
            return;
        }
        self.points.push((step, self.sum / self.summed as f64));
        (self.sum, self.summed) = (0.0, 0);
        if self.points.len() >= 2 * POINTS {
            let pairs = self.points.chunks_exact(2);
            self.points = pairs.map(|pair| (pair[1].0, (pair[0].1 + pair[1].1) / 2.0)).collect();
            self.steps_per_point *= 2;
        }
    }
}
