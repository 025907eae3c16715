//! Trains a model while it is pruned and rounded.

use std::path::Path;

use super::recipe::Recipe;
use super::trainer::Trainer;
use super::training_run::TrainingRun;
use super::workers::LocalWorkers;
use crate::Result;
use crate::compress::{CompressedLm, Gradual, Plan};
use crate::data::Corpus;
use crate::interrupt::Interrupt;
use crate::model::QrnnLm;
use crate::progress::Progress;
use qrnn_ops::process_group::ProcessGroup;

/// Compresses models by further training: zeros come step by step, and every step runs on rounded weights.
///
/// ```no_run
/// # use qrnn::prelude::*;
/// # fn main() -> qrnn::Result<()> {
/// # let corpus = Corpus::synthetic();
/// # let mut model = QrnnLm::new(&LmConfig::paper(40, 160), &corpus, Device::Cpu)?;
/// let plan = Plan::new().zeros("rnns", 0.6).zeros("encoder", 0.35).activation_bits(8);
/// let recipe = Recipe::paper().bptt(35).batch(16).epochs(6).lr(3e-4);
/// let small = Compressor::new(plan, recipe).fit(&mut model, &corpus)?;
/// # Ok(())
/// # }
/// ```
pub struct Compressor(Trainer);

impl Compressor {
    /// A compressor that writes no files. The zeros of the plan are all there after 70 % of the recipe; the rate is
    /// then still that of the recipe, unless its `when` says otherwise.
    pub fn new(plan: Plan, recipe: Recipe) -> Self {
        Self::gradual(Gradual::new(plan), recipe)
    }

    /// As [`Compressor::new`], with other intervals.
    pub fn gradual(gradual: Gradual, recipe: Recipe) -> Self {
        Self(Trainer::new(recipe).compression(gradual))
    }

    /// Writes config.json, metrics.jsonl, checkpoints, the compressed model.safetensors and results.json into a folder.
    pub fn folder(self, folder: impl AsRef<Path>) -> Self {
        Self(self.0.folder(folder))
    }

    /// As [`Trainer::resume`], with the model that the run started from: one that an interrupted call has trained must be
    /// opened again.
    pub fn resume(self, resume: bool) -> Self {
        Self(self.0.resume(resume))
    }

    /// As [`Trainer::overwrite`].
    pub fn overwrite(self, overwrite: bool) -> Self {
        Self(self.0.overwrite(overwrite))
    }

    /// As [`Trainer::checkpoint_every`].
    pub fn checkpoint_every(self, steps: u64) -> Self {
        Self(self.0.checkpoint_every(steps))
    }

    /// As [`Trainer::group`].
    pub fn group(self, group: &ProcessGroup) -> Self {
        Self(self.0.group(group))
    }

    /// As [`Trainer::workers`].
    pub fn workers(self, workers: &LocalWorkers) -> Self {
        Self(self.0.workers(workers))
    }

    /// As [`Trainer::interrupt`].
    pub fn interrupt(self, interrupt: Interrupt) -> Self {
        Self(self.0.interrupt(interrupt))
    }

    /// Trains and compresses `model`, which afterwards has the exact weights of the last step. The compressed model is
    /// that of the best epoch among those with all zeros; `None` if the run was interrupted before there was one.
    ///
    /// # Errors
    /// As [`Trainer::fit_with`]; [`crate::Error::Config`] if the plan does not fit the model.
    pub fn fit_with(
        &self,
        model: &mut QrnnLm,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<(TrainingRun, Option<CompressedLm>)> {
        self.0.fit_and_compress(model, corpus, progress)
    }
}
