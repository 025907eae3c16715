//! Training while it goes, in a notebook.

use std::time::{Duration, Instant};

use super::{Bundle, Live, WIDTH};
use crate::paper::operation_counts::grouped;
use crate::train::{EpochReport, Observer, StepReport, Terminal};
use crate::view::plot;
use crate::view::report::cells::{duration, perplexity_of};

/// Two pictures a second at most.
const BETWEEN: Duration = Duration::from_millis(500);

/// Points that a picture can tell apart.
const POINTS: usize = 400;

/// One picture that changes while the run goes: curves of loss and perplexity, how far it is, words
/// a second and time left.
#[derive(Debug)]
pub struct Training {
    live: Live,
    epochs: usize,
    rows: usize,
    started: Instant,
    /// Share of the work that was done before this run began: it may be a resumed one.
    begun_at: Option<f64>,
    due: Instant,
    curve: Curve,
    valid: Vec<(f64, f64)>,
    last: Option<StepReport>,
}

impl Training {
    /// `None` where the cell is not run by our kernel.
    pub fn in_notebook() -> Option<Self> {
        let now = Instant::now();
        Some(Self {
            live: Live::in_notebook()?,
            epochs: 0,
            rows: 0,
            started: now,
            begun_at: None,
            due: now,
            curve: Curve::default(),
            valid: vec![],
            last: None,
        })
    }

    /// What shows a run here where nobody chose: this under our kernel, else a bar or plain lines.
    pub(crate) fn or_terminal() -> Box<dyn Observer> {
        match Self::in_notebook() {
            Some(training) => Box::new(training),
            None => Box::new(Terminal::default()),
        }
    }

    fn share(&self, step: &StepReport) -> f64 {
        let all = self.epochs.saturating_mul(self.rows).max(1) as f64;
        (((step.epoch - 1) * self.rows + step.row) as f64 / all).min(1.0)
    }

    fn show(&mut self, step: &StepReport, over: bool) {
        let (share, elapsed) = (self.share(step), self.started.elapsed().as_secs_f64());
        let begun = *self.begun_at.get_or_insert(share);
        let time = match over {
            true => format!("{} in all", duration(elapsed)),
            false if share > begun => {
                format!("{} left", duration(elapsed * (1.0 - share) / (share - begun)))
            }
            false => "begun".into(),
        };
        let valid = self.valid.last().map_or_else(String::new, |(_, loss)| {
            format!(" · validation perplexity {}", perplexity_of(*loss))
        });
        let status = format!(
            "epoch {} of {} · {:.0} % · {} words/s · {time}{valid}",
            step.epoch,
            self.epochs,
            share * 100.0,
            grouped(step.tokens_per_second.max(0.0) as u64),
        );
        let picture = plot::training_progress(&status, share, &self.curve.points, &self.valid);
        let text = format!("{status} · loss {:.3}", self.curve.latest);
        let bundle = match picture.svg_of_width(WIDTH) {
            Ok(svg) => Bundle::svg(svg, text),
            Err(_) => Bundle::text(text),
        };
        self.live.show(&bundle);
    }
}

impl Observer for Training {
    fn begin(&mut self, epochs: usize, rows: usize) {
        (self.epochs, self.rows, self.started) = (epochs, rows, Instant::now());
    }

    fn step(&mut self, step: &StepReport) {
        self.last = Some(*step);
        self.curve.add(step.step as f64, step.loss);
        let now = Instant::now();
        if now >= self.due {
            self.due = now + BETWEEN;
            self.show(step, false);
        }
    }

    fn epoch(&mut self, report: &EpochReport, _best: bool) {
        if let Some(last) = self.last {
            self.valid.push((last.step as f64, report.valid_loss));
        }
    }

    fn notice(&mut self, text: &str) {
        crate::terminal::note(text);
    }

    fn end(&mut self) {
        if let Some(last) = self.last {
            self.show(&last, true);
        }
    }
}

/// Losses by step: each point is the mean of as many steps, so that a long run stays short here.
#[derive(Debug)]
struct Curve {
    points: Vec<(f64, f64)>,
    steps_a_point: usize,
    sum: f64,
    summed: usize,
    latest: f64,
}

impl Default for Curve {
    fn default() -> Self {
        Self { points: vec![], steps_a_point: 1, sum: 0.0, summed: 0, latest: f64::NAN }
    }
}

impl Curve {
    fn add(&mut self, step: f64, loss: f64) {
        (self.sum, self.summed, self.latest) = (self.sum + loss, self.summed + 1, loss);
        if self.summed < self.steps_a_point {
            return;
        }
        self.points.push((step, self.sum / self.summed as f64));
        (self.sum, self.summed) = (0.0, 0);
        if self.points.len() >= 2 * POINTS {
            let pairs = self.points.chunks_exact(2);
            self.points = pairs.map(|two| (two[1].0, (two[0].1 + two[1].1) / 2.0)).collect();
            self.steps_a_point *= 2;
        }
    }
}
