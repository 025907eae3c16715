//! The files that a run writes: the best weights and checkpoints.

use std::time::Instant;

use super::checkpoint::{self, Contents};
use super::run_dir::RunDir;
use super::training_loop::TrainingLoop;
use crate::Result;

/// The key in a weight file's metadata that names the run.
pub(super) const RUN: &str = "qrnn-run";

impl TrainingLoop<'_> {
    /// Writes the current weights to model.safetensors.
    pub(super) fn save_weights(&mut self) -> Result<()> {
        let Some(weights) = self.folder.as_ref().map(RunDir::weights) else { return Ok(()) };
        let mut metadata = crate::model::metadata(self.model)?;
        if let Some(identity) = &self.identity {
            metadata.insert(RUN.into(), identity.run.clone());
        }
        self.writer.write(&weights, &self.model.parameters(), metadata, || Ok(()))
    }

    /// Writes a checkpoint; the losses of all submitted steps must have been read.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        if !self.parallel.saves {
            return Ok(());
        }
        let state = self.parallel.gather_state(&self.state)?;
        let Some(folder) = self.folder.as_ref().map(RunDir::path) else { return Ok(()) };
        if let Some(log) = &mut self.log {
            self.position.log_bytes = log.sync()?;
        }
        let contents = Contents {
            model: self.model,
            recipe: self.recipe,
            position: &self.position,
            optimizer: &self.optimizer,
            state: &state,
            losses: &self.losses,
            identity: self.identity.as_ref(),
            compression: self.compression.as_ref(),
        };
        checkpoint::save(&mut self.writer, folder, &contents)?;
        self.checkpoint_schedule.written(self.position.step, Instant::now());
        Ok(())
    }
}
