//! Trains a model while it is pruned and rounded.

use std::path::{Path, PathBuf};

use super::recipe::Recipe;
use super::trainer::Trainer;
use super::training_run::TrainingRun;
use crate::compress::{CompressedLm, Gradual, Plan};
use crate::data::Corpus;
use crate::interrupt::Interrupt;
use crate::model::QrnnLm;
use crate::progress::Progress;
use crate::{Error, Result};

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
pub struct Compressor {
    gradual: Gradual,
    recipe: Recipe,
    folder: Option<PathBuf>,
    resume: bool,
    overwrite: bool,
    checkpoint_every: Option<u64>,
    interrupt: Interrupt,
}

impl Compressor {
    /// A compressor that writes no files. The zeros of the plan are all there after 70 % of the recipe; the rate is
    /// then still that of the recipe, unless its `when` says otherwise.
    pub fn new(plan: Plan, recipe: Recipe) -> Self {
        Self::gradual(Gradual::new(plan), recipe)
    }

    /// As [`Compressor::new`], with other intervals.
    pub fn gradual(gradual: Gradual, recipe: Recipe) -> Self {
        let (folder, interrupt) = (None, Interrupt::default());
        let (resume, overwrite, checkpoint_every) = (false, false, None);
        Self { gradual, recipe, folder, resume, overwrite, checkpoint_every, interrupt }
    }

    /// Writes config.json, metrics.jsonl, checkpoints, the compressed model.safetensors and results.json into a folder.
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().into());
        self
    }

    /// Continues from the newest checkpoint in the folder, as if the run had never stopped.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Replaces an earlier run in the folder.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Writes a checkpoint every `steps` steps.
    pub fn checkpoint_every(mut self, steps: u64) -> Self {
        self.checkpoint_every = Some(steps);
        self
    }

    /// Stops after the current step on request.
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Trains and compresses `model`, which afterwards has the exact weights of the last step. The compressed model is
    /// that of the best epoch among those with all zeros; `None` if the run was interrupted before there was one.
    ///
    /// # Errors
    /// As [`Trainer::fit_with`]; [`Error::Config`] if the plan does not fit the model.
    pub fn fit_with(
        &self,
        model: &mut QrnnLm,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<(TrainingRun, Option<CompressedLm>)> {
        if self.recipe.finetune {
            return Err(Error::config(
                "recipe.finetune",
                "",
                "is not for compression: its first model counts as the best, without zeros",
                "leave it out",
            ));
        }
        let mut trainer = Trainer::new(self.recipe.clone())
            .compression(self.gradual.clone())
            .resume(self.resume)
            .overwrite(self.overwrite)
            .interrupt(self.interrupt.clone());
        if let Some(folder) = &self.folder {
            trainer = trainer.folder(folder);
        }
        if let Some(steps) = self.checkpoint_every {
            trainer = trainer.checkpoint_every(steps);
        }
        trainer.fit_and_compress(model, corpus, progress)
    }
}
