//! What a run leaves in its folder while it goes.

use std::collections::HashMap;
use std::time::Instant;

use super::checkpoint::{self, Contents};
use super::run_dir::RunDir;
use super::session::Session;
use crate::Result;

impl Session<'_> {
    /// Writes the model's present weights as the best.
    pub(super) fn save_weights(&mut self) -> Result<()> {
        let Some(weights) = self.folder.as_ref().map(RunDir::weights) else { return Ok(()) };
        self.writer.write(&weights, &self.model.parameters(), HashMap::new(), || Ok(()))
    }

    /// Writes a checkpoint of where the run stands; the losses of all steps must have been read.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let Some(folder) = self.folder.as_ref().map(RunDir::path) else { return Ok(()) };
        if let Some(log) = &mut self.log {
            self.progress.log_bytes = log.sync()?;
        }
        let contents = Contents {
            model: self.model,
            recipe: self.recipe,
            progress: &self.progress,
            optimiser: &self.optimiser,
            state: &self.state,
            losses: &self.losses,
        };
        checkpoint::save(&mut self.writer, folder, &contents)?;
        self.schedule.written(self.progress.step, Instant::now());
        Ok(())
    }
}
