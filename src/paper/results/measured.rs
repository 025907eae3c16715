//! Measured sizes and perplexities of a model, over one or several seeds.

use serde::{Deserialize, Serialize};

use super::statistics::{deviation, mean};
use crate::json;
use crate::paper::operation_counts::count_ops;
use crate::train::TrainingRun;

/// Sizes and results of a model. With several seeds, losses, perplexities, steps and times are means.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Measured {
    pub emsize: usize,
    pub nhid: usize,
    /// Mean sequence length in training, in tokens.
    pub bptt: usize,
    pub batch: usize,
    pub epochs: usize,
    /// Training tokens, over all epochs.
    pub tokens: u64,
    pub steps: u64,
    /// Number of parameters, without the tombstones of the split softmax.
    pub parameters: u64,
    /// Lowest loss on the validation split, in nats per token; NaN if none was measured.
    #[serde(with = "json::number", default = "json::unknown")]
    pub valid_loss: f64,
    /// Loss on the test split, in nats per token; NaN if it was not measured.
    #[serde(with = "json::number", default = "json::unknown")]
    pub test_loss: f64,
    /// Lowest perplexity on the validation split.
    #[serde(with = "json::number")]
    pub valid_ppl: f64,
    #[serde(with = "json::number")]
    pub test_ppl: f64,
    /// Standard deviation of the perplexity over the seeds (n - 1 in the denominator); `None` for one seed.
    #[serde(default)]
    pub valid_ppl_deviation: Option<f64>,
    #[serde(default)]
    pub test_ppl_deviation: Option<f64>,
    /// Time of training and validation, in seconds.
    pub seconds: f64,
    #[serde(default)]
    pub interrupted: bool,
    /// The runs, by seed; empty in files of version 0.1 without seeds.
    #[serde(default)]
    pub runs: Vec<SeedRun>,
}

json::completed!(Measured);

/// The result of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedRun {
    pub seed: u64,
    /// Folder of the run, relative to that of results.json; `None` if the run has none.
    pub folder: Option<String>,
    pub steps: u64,
    pub tokens: u64,
    #[serde(with = "json::number")]
    pub valid_loss: f64,
    #[serde(with = "json::number")]
    pub test_loss: f64,
    #[serde(with = "json::number")]
    pub valid_ppl: f64,
    #[serde(with = "json::number")]
    pub test_ppl: f64,
    /// Time of training and validation, in seconds.
    pub seconds: f64,
}

impl Measured {
    /// Computes loss or perplexity from each other after reading a file: older files have no losses, and null
    /// means infinity, or NaN in an interrupted run.
    fn complete(&mut self) {
        let interrupted = self.interrupted;
        let complete = |loss: &mut f64, ppl: &mut f64| match (loss.is_finite(), ppl.is_finite()) {
            (true, _) => *ppl = json::perplexity(*ppl, *loss),
            (false, true) => *loss = ppl.ln(),
            (false, false) if interrupted => (*loss, *ppl) = (f64::NAN, f64::NAN),
            (false, false) => {}
        };
        complete(&mut self.valid_loss, &mut self.valid_ppl);
        complete(&mut self.test_loss, &mut self.test_ppl);
    }

    /// Means and deviations over runs of models of these sizes. `runs` is not empty.
    pub(crate) fn over_seeds(sizes: Self, runs: Vec<SeedRun>) -> Self {
        let column = |value: fn(&SeedRun) -> f64| runs.iter().map(value).collect::<Vec<f64>>();
        let (valid, test) = (column(|run| run.valid_ppl), column(|run| run.test_ppl));
        Self {
            tokens: mean(&column(|run| run.tokens as f64)).round() as u64,
            steps: mean(&column(|run| run.steps as f64)).round() as u64,
            valid_loss: mean(&column(|run| run.valid_loss)),
            test_loss: mean(&column(|run| run.test_loss)),
            valid_ppl: mean(&valid),
            test_ppl: mean(&test),
            valid_ppl_deviation: deviation(&valid),
            test_ppl_deviation: deviation(&test),
            seconds: mean(&column(|run| run.seconds)),
            runs,
            ..sizes
        }
    }
}

impl From<&TrainingRun> for Measured {
    fn from(run: &TrainingRun) -> Self {
        let tombstones = count_ops(&run.config).criterion_parameters;
        Self {
            emsize: run.config.emsize,
            nhid: run.config.nhid,
            bptt: run.recipe.bptt,
            batch: run.recipe.batch,
            epochs: run.recipe.epochs,
            tokens: run.tokens,
            steps: run.steps,
            parameters: run.parameters.saturating_sub(tombstones),
            valid_loss: run.epochs.iter().map(|epoch| epoch.valid_loss).fold(f64::NAN, f64::min),
            test_loss: run.test_loss.unwrap_or(f64::NAN),
            valid_ppl: run.epochs.iter().map(|epoch| epoch.valid_ppl).fold(f64::NAN, f64::min),
            test_ppl: run.test_ppl.unwrap_or(f64::NAN),
            seconds: run.epoch_seconds(),
            interrupted: run.interrupted,
            ..Self::default()
        }
    }
}

impl From<&Measured> for Measured {
    fn from(measured: &Measured) -> Self {
        measured.clone()
    }
}

impl Measured {
    /// These results as those of one seed.
    pub(crate) fn of_seed(&self, seed: u64, folder: Option<String>) -> SeedRun {
        SeedRun {
            seed,
            folder,
            steps: self.steps,
            tokens: self.tokens,
            valid_loss: self.valid_loss,
            test_loss: self.test_loss,
            valid_ppl: self.valid_ppl,
            test_ppl: self.test_ppl,
            seconds: self.seconds,
        }
    }
}
