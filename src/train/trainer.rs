//! Trains a model by a recipe.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tch::{Kind, Tensor};

use super::checkpoint_schedule::{CheckpointInterval, CheckpointSchedule};
use super::checkpoint_writer::Writer;
use super::compression::Compression;
use super::data_parallel::{DataParallel, Settings};
use super::memory::Memory;
use super::metrics::LOG_EVERY;
use super::optimizer::Optimizer;
use super::pending::PendingSteps;
use super::position::RunPosition;
use super::recipe::Recipe;
use super::run_dir::RunDir;
use super::run_start::{self, RunStart};
use super::training_loop::TrainingLoop;
use super::training_run::TrainingRun;
use crate::compress::{CompressedLm, Gradual};
use crate::data::{Batches, Corpus, Split};
use crate::interrupt::Interrupt;
use crate::model::{QrnnLm, check_vocabulary};
use crate::progress::{Progress, Silent, Task, Unit};
use crate::{Error, Result};
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
    recipe: Recipe,
    folder: Option<Folder>,
    interrupt: Interrupt,
    /// `None` for the default of the device.
    checkpoint_interval: Option<CheckpointInterval>,
    /// Whether checkpoints are written by a thread; `None` for the default of the device.
    in_background: Option<bool>,
    log_every: u64,
    losses_at_once: Option<usize>,
    resume: bool,
    overwrite: bool,
    compression: Option<Gradual>,
    group: Option<ProcessGroup>,
    /// Whether gradients are summed while backward makes others; `None` for the default of the device.
    overlaps: Option<bool>,
    provenance: serde_json::Map<String, serde_json::Value>,
}

/// The folder of a run, which this process may own already.
enum Folder {
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

    /// As [`Trainer::fit_with`]; returns the compressed model of the best epoch as well, if there is one.
    pub(super) fn fit_and_compress(
        &self,
        model: &mut QrnnLm,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<(TrainingRun, Option<CompressedLm>)> {
        let Some(group) = self.group.as_ref().filter(|group| group.world_size() > 1) else {
            return self.fit_alone_or_together(model, corpus, progress, None);
        };
        group.begin_call();
        let progress: &mut dyn Progress = if group.rank() == 0 { progress } else { &mut Silent };
        let result = self.fit_alone_or_together(model, corpus, progress, Some(group));
        if let Err(error) = &result
            && !is_common(error)
        {
            // The other processes would wait for this one.
            group.fail(&error.to_string());
        }
        result
    }

    fn fit_alone_or_together(
        &self,
        model: &mut QrnnLm,
        corpus: &Corpus,
        progress: &mut dyn Progress,
        group: Option<&ProcessGroup>,
    ) -> Result<(TrainingRun, Option<CompressedLm>)> {
        let elsewhere = group.and_then(ProcessGroup::stop_elsewhere);
        let interrupt = self.interrupt.during_call().or(elsewhere);
        self.recipe.check()?;
        if self.compression.is_some() && self.recipe.finetune {
            return Err(Error::config(
                "recipe.finetune",
                "",
                "is not for compression: its first model counts as the best, without zeros",
                "leave it out",
            ));
        }
        self.check_intervals()?;
        model.config().check_ids(corpus.ids())?;
        check_vocabulary(model, corpus)?;
        if model.packed().is_some() {
            return Err(Error::mismatch(
                "the model",
                "is compressed: its weights are rounded, and training would not keep them so",
                "train the model that it was made of",
            ));
        }
        let recipe = &self.recipe;
        let tokens = corpus.tokens(Split::Train);
        let batches = Batches::new(tokens, recipe.batch, "training")?;
        // Refuse a text that is too short before the epoch, not after it.
        Batches::fixed(corpus.tokens(Split::Valid), recipe.valid_batch, "validation")?;
        Batches::fixed(corpus.tokens(Split::Test), 1, "test")?;
        if let Some(group) = group {
            self.settings(model, corpus).compare(group, &interrupt)?;
        }
        let mut parallel = DataParallel::new(group.cloned(), recipe.batch, model, self.overlaps)?;
        let folder = match &self.folder {
            _ if !parallel.is_main() => None,
            Some(Folder::Path(path)) => Some(RunDir::open_with(path, &interrupt, progress)?),
            Some(Folder::Owned(folder)) => Some(folder.clone()),
            None => None,
        };
        let compression = self.compression.as_ref();
        let start = match &folder {
            _ if !parallel.is_main() => None,
            Some(folder) => {
                let run = (&mut *model, recipe, corpus, compression);
                Some(run_start::open(folder, self.resume, self.overwrite, run)?)
            }
            None => Some(RunStart::Fresh),
        };
        let start = parallel.share_start(start, folder.is_some(), model, (recipe, compression))?;
        let asked = matches!(self.folder, Some(Folder::Path(_))) && self.resume;
        if let (Some(folder), true, RunStart::Fresh) = (&folder, asked, &start) {
            let out = folder.path().display();
            progress.message(&format!("{out} holds no checkpoint: a new run starts"));
        }
        model.adopt_vocab(corpus);
        if let Some(folder) = &folder {
            let compression = self.compression.as_ref();
            folder.write_config(model.config(), recipe, corpus, compression)?;
        }
        qrnn_ops::libtorch::keep_freed_memory();
        let log = folder.as_ref().map(RunDir::metrics).transpose()?;
        let device = model.options().1;
        let interval = self.checkpoint_interval.unwrap_or(CheckpointInterval::default_for(device));
        let compression = match &self.compression {
            Some(settings) => Some(Compression::new(settings, model)?),
            None => None,
        };
        let mut training = TrainingLoop {
            optimizer: Optimizer::new(model, recipe)?,
            state: model.zero_state(parallel.columns().len() as i64)?,
            model,
            corpus,
            batches,
            recipe,
            writer: Writer::new(device, self.in_background.unwrap_or(device.is_cuda())),
            folder,
            log,
            progress,
            interrupt: &interrupt,
            checkpoint_schedule: CheckpointSchedule::new(interval, 0, Instant::now()),
            log_every: self.log_every,
            position: RunPosition::start(),
            pending: PendingSteps::new(self.losses_at_once, device)?,
            next: None,
            losses: vec![],
            identity: None,
            provenance: self.provenance.clone(),
            healthy: Tensor::f_ones(&[] as &[i64], (Kind::Float, device))?,
            parallel,
            best: None,
            compression,
        };
        training.start(start)?;
        training.share_best()?;
        training.round_copies();
        let rows = recipe.epochs.saturating_mul(batches.rows()) as u64;
        training.progress.start(&Task::new("training", Unit::Rows, rows));
        let memory = Memory::estimate(training.model.config(), recipe, tokens.len());
        let run = training.run().map_err(|error| memory.explain(error));
        training.model.round_copies(None);
        training.progress.finish();
        let compressed = training.compression.and_then(|compression| compression.best);
        Ok((run?, compressed))
    }

    fn settings<'a>(&'a self, model: &'a QrnnLm, corpus: &'a Corpus) -> Settings<'a> {
        Settings {
            model,
            recipe: &self.recipe,
            corpus,
            compression: self.compression.as_ref(),
            log_every: self.log_every,
            losses_at_once: self.losses_at_once,
        }
    }

    /// # Errors
    /// [`Error::Config`] for an interval of 0 steps.
    fn check_intervals(&self) -> Result<()> {
        let intervals = [
            (
                "trainer.checkpoint_every",
                self.checkpoint_interval == Some(CheckpointInterval::Steps(0)),
            ),
            ("trainer.log_every", self.log_every == 0),
            ("trainer.losses_at_once", self.losses_at_once == Some(0)),
        ];
        match intervals.into_iter().find(|(_, none)| *none) {
            None => Ok(()),
            Some((field, _)) => Err(Error::config(
                field,
                0,
                "must be at least 1",
                "leave it out, or give a number of steps",
            )),
        }
    }
}

/// Whether all processes of a group come to this error by themselves.
fn is_common(error: &Error) -> bool {
    matches!(error, Error::Diverged { .. } | Error::Ops(qrnn_ops::Error::Group { .. }))
}

#[cfg(test)]
mod adaptive;
#[cfg(test)]
mod background;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod tests;
