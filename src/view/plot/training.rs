//! Curves of training: of finished runs, and of one that goes on.

use super::chart::{Figure, Mark, Panel, Series};
use super::picture::Plot;
use super::points::{Curve, Point};
use crate::train::{Record, RunLog, TrainingRun};

/// Width and height of the picture of a run that goes on.
const LIVE_PAGE: (u32, u32) = (900, 300);

/// A perplexity so many times the lowest one would flatten all that follows it.
const REACH: f64 = 6.0;

/// Points of a finished run's curve.
const POINTS: usize = 120;

/// The mean of one in so many of a live curve's points is drawn: single steps are mostly noise.
const SMOOTHING: usize = 40;

impl From<&TrainingRun> for Point {
    fn from(run: &TrainingRun) -> Self {
        let tombstones =
            crate::paper::operation_counts::count_ops(&run.config).criterion_parameters;
        Self {
            emsize: run.config.emsize,
            nhid: run.config.nhid,
            bptt: run.recipe.bptt,
            parameters: run.parameters.saturating_sub(tombstones),
            perplexity: run.test_ppl.unwrap_or(f64::NAN),
        }
    }
}

impl From<&TrainingRun> for Curve {
    /// Perplexity in training: each point the mean of some steps, without the beginning, which
    /// would flatten the rest.
    fn from(run: &TrainingRun) -> Self {
        let steps = run.losses.len().div_ceil(POINTS).max(1);
        let means = run.losses.chunks(steps).enumerate().map(|(i, losses)| {
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            ((i * steps + losses.len()) as f64, mean)
        });
        let (config, bptt) = (&run.config, run.recipe.bptt);
        let label = format!("{}/{}, bptt {bptt}", config.emsize, config.nhid);
        Self { label, points: perplexities(means) }
    }
}

impl RunLog {
    /// Perplexity in training by step: of the words since the last line of the log. Without the
    /// beginning, as a notebook shows it: an untrained model's would flatten the rest.
    pub fn training(&self) -> Curve {
        let losses = self.records.iter().filter_map(|record| match record {
            Record::Steps { step, loss, .. } => Some((*step as f64, *loss)),
            _ => None,
        });
        Curve { label: self.name.clone(), points: perplexities(losses) }
    }

    /// Perplexity on the validation text by step, one point an epoch; what [`RunLog::training`] leaves
    /// out is left out here, too.
    pub fn validation(&self) -> Curve {
        let from = self.training().points.first().map_or(0.0, |first| first.0);
        let mut last = 0;
        let points = self.records.iter().filter_map(|record| match record {
            Record::Steps { step, .. } => {
                last = *step;
                None
            }
            Record::Epoch(epoch) => Some((last as f64, epoch.valid_ppl)),
            Record::Test { .. } => None,
        });
        let points = points.filter(|point| point.0 >= from).collect();
        Curve { label: format!("{}, valid", self.name), points }
    }
}

/// Losses as perplexities, from where they have come near enough to the lowest.
fn perplexities(losses: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let points: Vec<_> = losses.map(|(step, loss)| (step, loss.exp())).collect();
    let low = points.iter().map(|(_, ppl)| *ppl).fold(f64::INFINITY, f64::min);
    points.into_iter().skip_while(|(_, ppl)| *ppl > REACH * low).collect()
}

/// Each point the mean of those before it, as far back as a part of the whole.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let window = (points.len() / SMOOTHING).max(1);
    let mean = |i: usize| {
        let values = &points[(i + 1).saturating_sub(window)..=i];
        values.iter().map(|(_, loss)| loss).sum::<f64>() / values.len() as f64
    };
    points.iter().enumerate().map(|(i, (step, _))| (*step, mean(i))).collect()
}

/// A run that goes on: loss and perplexity by step, `status` in a line above, and a bar for the
/// share that is done. Losses are in nats a word.
pub(crate) fn training_progress(
    status: &str,
    done: f64,
    training: &[(f64, f64)],
    validation: &[(f64, f64)],
) -> Plot {
    let series = |label: &str, points: Vec<(f64, f64)>, markers| Series {
        label: label.into(),
        points: points.into_iter().map(|(x, y)| Mark::new(x, y)).collect(),
        line: true,
        markers,
        ..Series::default()
    };
    let panel = |y_label: &str, training: Vec<_>, validation: Vec<_>| Panel {
        x_label: "step".into(),
        counts: true,
        powers: true,
        y_label: y_label.into(),
        series: vec![
            series("training (mean of some steps)", training, false),
            series("validation", validation, true),
        ],
        ..Panel::default()
    };
    let training = smoothed(training);
    let perplexity = perplexities(training.iter().copied());
    // What the training curve leaves out, validation leaves out too.
    let from = perplexity.first().map_or(0.0, |first| first.0);
    let valid_ppl =
        validation.iter().filter(|point| point.0 >= from).map(|(step, loss)| (*step, loss.exp()));
    let panels = vec![
        panel("loss (nats a word)", training, validation.into()),
        panel("perplexity", perplexity, valid_ppl.collect()),
    ];
    let figure = Figure { page: LIVE_PAGE, done: Some(done), ..Figure::new(status, panels) };
    Plot::new("training", figure)
}
