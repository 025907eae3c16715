//! What a run leaves in its folder while it goes.

use std::time::Instant;

use super::checkpoint::{self, Contents};
use super::run_dir::RunDir;
use super::training_loop::Session;
use crate::Result;

/// The key in a weight file's metadata that says of which run the weights are.
pub(super) const RUN: &str = "qrnn-run";

impl Session<'_> {
    /// Writes the model's present weights as the best.
    pub(super) fn save_weights(&mut self) -> Result<()> {
        let Some(weights) = self.folder.as_ref().map(RunDir::weights) else { return Ok(()) };
        let mut metadata = crate::model::metadata(self.model)?;
        if let Some(identity) = &self.identity {
            metadata.insert(RUN.into(), identity.run.clone());
        }
        self.writer.write(&weights, &self.model.parameters(), metadata, || Ok(()))
    }

    /// Writes a checkpoint of where the run stands; the losses of all steps must have been read.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let Some(folder) = self.folder.as_ref().map(RunDir::path) else { return Ok(()) };
        if let Some(log) = &mut self.log {
            self.position.log_bytes = log.sync()?;
        }
        let contents = Contents {
            model: self.model,
            recipe: self.recipe,
            position: &self.position,
            optimizer: &self.optimizer,
            state: &self.state,
            losses: &self.losses,
            identity: self.identity.as_ref(),
        };
        checkpoint::save(&mut self.writer, folder, &contents)?;
        self.schedule.written(self.position.step, Instant::now());
        Ok(())
    }
}
