//! Training curves of finished and running trainings.

use super::chart::{Content, Plot, Series};
use super::figures::{Curve, steep_start, step_panel};
use crate::train::{Record, RunLog, TrainingRun};

/// Width and height of the live plot, in page pixels.
const LIVE_PAGE: (u32, u32) = (900, 300);

/// Maximum number of points of the curves of a finished run and of a running one. Single steps are noisy.
const POINTS: usize = 120;
const LIVE_POINTS: usize = 60;

impl From<&TrainingRun> for Curve {
    /// Training perplexity, averaged over groups of steps.
    fn from(run: &TrainingRun) -> Self {
        let losses: Vec<_> =
            run.losses.iter().zip(1u32..).map(|(loss, step)| (f64::from(step), *loss)).collect();
        let (config, bptt) = (&run.config, run.recipe.bptt);
        let label = format!("{}/{}, bptt {bptt}, training", config.emsize, config.nhid);
        Self { label, points: perplexities(&means(&losses, POINTS)) }
    }
}

impl RunLog {
    /// Training perplexity by step, one point per log line.
    pub fn training(&self) -> Curve {
        let points = self.records.iter().filter_map(|record| match record {
            Record::Steps { step, loss, .. } => Some((*step as f64, loss.exp())),
            _ => None,
        });
        Curve { label: format!("{}, training", self.name), points: points.collect() }
    }

    /// Validation perplexity by step, one point per epoch.
    pub fn validation(&self) -> Curve {
        let mut last_step = 0;
        let points = self.records.iter().filter_map(|record| match record {
            Record::Steps { step, .. } => {
                last_step = *step;
                None
            }
            Record::Epoch(epoch) => Some((last_step as f64, epoch.valid_ppl)),
            Record::Test { .. } => None,
        });
        Curve { label: format!("{}, validation", self.name), points: points.collect() }
    }
}

/// Converts losses to perplexities.
fn perplexities(losses: &[(f64, f64)]) -> Vec<(f64, f64)> {
    losses.iter().map(|&(step, loss)| (step, loss.exp())).collect()
}

/// Means of groups of consecutive losses, at most `count`.
fn means(losses: &[(f64, f64)], count: usize) -> Vec<(f64, f64)> {
    let groups = losses.chunks(losses.len().div_ceil(count).max(1));
    let mean = |group: &[(f64, f64)]| {
        let sum: f64 = group.iter().map(|(_, loss)| loss).sum();
        (group[group.len() - 1].0, sum / group.len() as f64)
    };
    groups.map(mean).collect()
}

/// Live plot of loss and perplexity by step, with a status line and a progress bar. The points are
/// (step, loss) in nats per token.
pub(crate) fn training_progress(
    status: &str,
    progress: f64,
    training: &[(f64, f64)],
    validation: &[(f64, f64)],
) -> Plot {
    let panel = |y_label, training, validation| {
        let markers = true;
        let training = Series::line("training", training);
        let validation = Series { markers, ..Series::line("validation", validation) };
        step_panel(y_label, vec![training, validation])
    };
    let training = means(training, LIVE_POINTS);
    let mut perplexity = perplexities(&training);
    perplexity.drain(..steep_start(&perplexity));
    // Both curves start at the same step.
    let start = perplexity.first().map_or(0.0, |first| first.0);
    let valid_ppl =
        validation.iter().filter(|point| point.0 >= start).map(|(step, loss)| (*step, loss.exp()));
    let panels = vec![
        panel("loss (nats per token)", training, validation.to_vec()),
        panel("perplexity", perplexity, valid_ppl.collect()),
    ];
    let plot = Plot::new("training", status, Content::Panels(panels));
    Plot { page: LIVE_PAGE, progress: Some(progress), ..plot }
}
