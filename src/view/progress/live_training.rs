//! A training run in a picture that changes: loss and perplexity, speed, time left.

use std::time::{Duration, Instant};

use crate::format::{duration, perplexity_of, thousands};
use crate::notebook::{LiveDisplay, MimeBundle};
use crate::progress::{EpochReport, StepReport, Task};
use crate::view::plot;
use crate::view::show::WIDTH;

/// Two pictures a second at most.
const BETWEEN: Duration = Duration::from_millis(500);

/// Points that a picture can tell apart.
const POINTS: usize = 400;

#[derive(Debug)]
pub struct LiveTraining {
    live: LiveDisplay,
    /// Rows of all epochs.
    total: u64,
    started: Instant,
    /// Share of the work that was done before this process began: a resumed run's is not 0.
    initial_share: Option<f64>,
    due: Instant,
    curve: Curve,
    valid: Vec<(f64, f64)>,
    last: Option<StepReport>,
}

impl LiveTraining {
    pub fn new(live: LiveDisplay, task: &Task) -> Self {
        let now = Instant::now();
        Self {
            live,
            total: task.total.unwrap_or(1).max(1),
            started: now,
            initial_share: None,
            due: now,
            curve: Curve::default(),
            valid: vec![],
            last: None,
        }
    }

    pub fn step(&mut self, step: &StepReport) {
        self.last = Some(*step);
        self.curve.add(step.step as f64, step.loss);
        let now = Instant::now();
        if now >= self.due {
            self.due = now + BETWEEN;
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

    fn show(&mut self, step: &StepReport, over: bool) {
        let done = ((step.epoch - 1) * step.rows + step.row) as f64;
        let share = (done / self.total as f64).min(1.0);
        let elapsed = self.started.elapsed().as_secs_f64();
        let initial = *self.initial_share.get_or_insert(share);
        let time = if over {
            format!("{} in all", duration(elapsed))
        } else if share > initial {
            format!("{} left", duration(elapsed * (1.0 - share) / (share - initial)))
        } else {
            "started".into()
        };
        let valid = self.valid.last().map_or_else(String::new, |(_, loss)| {
            format!(" · validation perplexity {}", perplexity_of(*loss))
        });
        let status = format!(
            "epoch {} of {} · {:.0} % · {} words/s · {time}{valid}",
            step.epoch,
            self.total / (step.rows as u64).max(1),
            share * 100.0,
            thousands(step.tokens_per_second.max(0.0) as u64),
        );
        let picture = plot::training_progress(&status, share, &self.curve.points, &self.valid);
        let text = format!("{status} · loss {:.3}", self.curve.latest);
        let bundle = match picture.svg_of_width(WIDTH) {
            Ok(svg) => MimeBundle::svg(svg, text),
            Err(_) => MimeBundle::text(text),
        };
        self.live.show(&bundle);
    }
}

/// Losses by step. Each point is the mean of the same number of steps, which doubles as the run grows.
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
            self.points = pairs.map(|two| (two[1].0, (two[0].1 + two[1].1) / 2.0)).collect();
            self.steps_per_point *= 2;
        }
    }
}
