//! The compressed model of each epoch: when it is updated, measured and kept.

use super::run_files::RUN;
use super::training_loop::TrainingLoop;
use crate::Result;
use crate::compress::CompressedLm;
use crate::data::Split;
use crate::evaluate::Evaluation;

impl TrainingLoop<'_> {
    /// Fraction of the run that is submitted.
    fn progress_of_run(&self) -> f64 {
        let rows = self.batches.rows() as f64;
        let done = (self.position.epoch - 1) as f64 * rows + self.row() as f64;
        let by_rows = done / (self.recipe.epochs as f64 * rows);
        let by_steps = self.recipe.steps.map_or(0.0, |steps| self.step() as f64 / steps as f64);
        by_rows.max(by_steps)
    }

    /// Updates masks and scales if that is due before the next step.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub(super) fn update_compression_if_due(&mut self) -> Result<()> {
        let step = self.step();
        match &self.compression {
            Some(compression) if compression.is_due(step) => self.update_compression(),
            _ => Ok(()),
        }
    }

    /// Updates masks and scales, from the weights that are trained and not from their mean.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub(super) fn update_compression(&mut self) -> Result<()> {
        let progress = self.progress_of_run();
        match &mut self.compression {
            Some(compression) => compression.update(self.model, &self.optimizer, progress),
            None => Ok(()),
        }
    }

    /// Has the steps of a run that compresses read rounded copies of the weights, where they can.
    pub(super) fn round_copies(&mut self) {
        if let Some(compression) = &self.compression {
            compression.round_copies(self.model);
        }
    }

    /// The compressed model of the epoch that ends; `None` if the run does not compress.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub(super) fn compressed(&mut self) -> Result<Option<CompressedLm>> {
        let Some(compression) = &mut self.compression else { return Ok(None) };
        compression.compressed(self.model, self.corpus).map(Some)
    }

    /// `None` if interrupted.
    pub(super) fn evaluate_compressed(
        &self,
        compressed: &CompressedLm,
        split: Split,
    ) -> Result<Option<Evaluation>> {
        let (ids, what) = (self.corpus.tokens(split), split.to_string());
        let (model, options) = (compressed.model(), self.eval_options(split));
        let evaluation = self.parallel.validate(model, ids, &what, &options)?;
        Ok(Some(evaluation).filter(|evaluation| !evaluation.interrupted))
    }

    /// The test of the best compressed model; `None` if there is none yet, or if interrupted.
    pub(super) fn test_compressed(&self) -> Result<Option<Evaluation>> {
        let best = self.compression.as_ref().and_then(|compression| compression.best.as_ref());
        best.map_or(Ok(None), |best| self.evaluate_compressed(best, Split::Test))
    }

    /// Keeps a compressed model as the best, and writes it.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub(super) fn set_best_compressed(
        &mut self,
        loss: f64,
        mut compressed: CompressedLm,
    ) -> Result<()> {
        if let Some(identity) = &self.identity {
            compressed.set_metadata(RUN, &identity.run);
        }
        if let Some(folder) = &self.folder {
            compressed.save(folder.path())?;
        }
        self.position.best = Some(loss);
        if let Some(compression) = &mut self.compression {
            compression.best = Some(compressed);
        }
        Ok(())
    }
}
