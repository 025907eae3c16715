//! Trains a model by a recipe.

use std::path::{Path, PathBuf};

use super::checkpoint_schedule::CheckpointInterval;
use super::metrics::LOG_EVERY;
use super::recipe::Recipe;
use super::run_dir::RunDir;
use super::training_run::TrainingRun;
#[cfg(doc)]
use crate::Error;
use crate::Result;
use crate::compress::Gradual;
use crate::data::Corpus;
use crate::interrupt::Interrupt;
use crate::model::QrnnLm;
use crate::progress::Progress;
use qrnn_ops::process_group::ProcessGroup;

/// Trains models by a recipe.
///
/// ```no_run
/// # use qrnn::prelude::*;
/// # fn main() -> qrnn::Result<()> {
/// let corpus = Corpus::synthetic();
/// let mut model = QrnnLm::new(&LmConfig::paper(40, 160), &corpus, Device::Cpu)?;
/// let run = Trainer::new(Recipe::paper().bptt(35).batch(16).epochs(2)).fit(&mut model, &corpus)?;
/// println!("{run}");
/// # Ok(())
/// # }
/// ```
pub struct Trainer {
    pub(super) recipe: Recipe,
    pub(super) folder: Option<Folder>,
    pub(super) interrupt: Interrupt,
    /// `None` for the default of the device.
    pub(super) checkpoint_interval: Option<CheckpointInterval>,
    /// Whether checkpoints are written by a thread; `None` for the default of the device.
    pub(super) in_background: Option<bool>,
    pub(super) log_every: u64,
    pub(super) losses_at_once: Option<usize>,
    pub(super) resume: bool,
    pub(super) overwrite: bool,
    pub(super) compression: Option<Gradual>,
    pub(super) group: Option<ProcessGroup>,
    /// Whether the other processes of the group are workers, which get their settings from this one.
    pub(super) leads: bool,
    /// Whether gradients are summed while backward makes others; `None` for the default of the device.
    pub(super) overlaps: Option<bool>,
    pub(super) provenance: serde_json::Map<String, serde_json::Value>,
}

/// The folder of a run, which this process may own already.
pub(super) enum Folder {
    Path(PathBuf),
    Owned(RunDir),
}

impl Trainer {
    /// A trainer that writes no files.
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            folder: None,
            interrupt: Interrupt::default(),
            checkpoint_interval: None,
            in_background: None,
            log_every: LOG_EVERY,
            losses_at_once: None,
            resume: false,
            overwrite: false,
            compression: None,
            group: None,
            leads: false,
            overlaps: None,
            provenance: serde_json::Map::new(),
        }
    }

    /// Writes config.json, metrics.jsonl, checkpoints, the best model.safetensors and results.json into a folder.
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(Folder::Path(folder.as_ref().into()));
        self
    }

    /// As [`Trainer::folder`], for a folder that stays this process's after the run.
    pub(crate) fn run_dir(mut self, folder: RunDir) -> Self {
        self.folder = Some(Folder::Owned(folder));
        self
    }

    /// Adds fields to results.json that tell which experiment the run belongs to.
    pub(crate) fn provenance(mut self, fields: serde_json::Map<String, serde_json::Value>) -> Self {
        self.provenance = fields;
        self
    }

    /// Stops after the current step on request; the model keeps what it has learned. The interrupt button of
    /// a notebook works without this.
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Writes a checkpoint every `steps` steps, in addition to the one at the end of each epoch. Default:
    /// every 1,000 steps on the CPU, every 5 minutes on a GPU. On a GPU, a checkpoint that is due while
    /// another is being written follows it.
    pub fn checkpoint_every(mut self, steps: u64) -> Self {
        self.checkpoint_interval = Some(CheckpointInterval::Steps(steps));
        self
    }

    /// Writes a line to the log every `steps` steps. Default: 20.
    pub fn log_every(mut self, steps: u64) -> Self {
        self.log_every = steps;
        self
    }

    /// Copies the losses of `steps` steps to the host at once. Default: 1 on the CPU, 20 on a GPU, where the
    /// copy synchronizes.
    pub fn losses_at_once(mut self, steps: usize) -> Self {
        self.losses_at_once = Some(steps);
        self
    }

    /// Continues from the newest checkpoint in the folder, as if the run had never stopped; starts a new run
    /// if there is none.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Replaces an earlier run in the folder.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Trains together with the other processes of a group, which call this with the same settings and corpus: each
    /// trains some columns of every batch, and all have the trained model afterwards. Rank 0 alone reads and writes
    /// the folder and shows progress. The weights are those that the model of rank 0 has.
    pub fn group(mut self, group: &ProcessGroup) -> Self {
        self.group = Some(group.clone());
        self
    }

    /// As [`Trainer::group`], where the other processes are workers: they get the settings and the corpus from this one,
    /// the group's rank 0.
    pub fn lead(self, group: &ProcessGroup) -> Self {
        Self { leads: true, ..self.group(group) }
    }

    /// Prunes and rounds the model on the way. Its best epoch is then chosen among those with all zeros, and
    /// model.safetensors is the compressed model of that epoch.
    pub(super) fn compression(mut self, gradual: Gradual) -> Self {
        self.compression = Some(gradual);
        self
    }

    /// Trains `model` on the corpus's training text. Afterwards the model has the weights of the epoch with
    /// the lowest validation loss, which are tested; if interrupted, those of the last step; if a step was
    /// not finite, those before it.
    ///
    /// # Errors
    /// [`Error::Config`] for invalid settings, too little text, or widths and ids in order of first appearance;
    /// [`Error::Busy`] if the folder is in use or
    /// holds another run; [`Error::Diverged`] if the loss is not finite; [`Error::Io`]; [`Error::Mismatch`] if the
    /// processes of a group have different settings or texts; [`Error::Ops`] naming one that has ended or does not
    /// answer.
    pub fn fit_with(
        &self,
        model: &mut QrnnLm,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<TrainingRun> {
        self.fit_and_compress(model, corpus, progress).map(|(run, _)| run)
    }
}

#[cfg(test)]
mod adaptive;
#[cfg(test)]
mod background;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod tests;
