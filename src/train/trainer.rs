//! The training loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tch::{Kind, Tensor};

use super::checkpoint::{self, RunPosition};
use super::checkpoint_schedule::{Cadence, Schedule};
use super::checkpoint_writer::Writer;
use super::memory::Memory;
use super::metrics::LOG_EVERY;
use super::optimizer::Optimizer;
use super::pending::PendingSteps;
use super::recipe::Recipe;
use super::run_dir::RunDir;
use super::run_start;
use super::training_loop::Session;
use super::training_run::TrainingRun;
use crate::data::Batches;
use crate::data::{Corpus, Split};
use crate::interrupt::Interrupt;
use crate::model::{QrnnLm, check_vocabulary};
use crate::progress::{Progress, Task, Unit};
use crate::{Error, Result};

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
    folder: Option<PathBuf>,
    interrupt: Interrupt,
    /// `None` for what is best for the device.
    cadence: Option<Cadence>,
    /// Whether files of tensors are written in the background; `None` for what is best for the device.
    in_background: Option<bool>,
    log_every: u64,
    losses_at_once: Option<usize>,
    resume: bool,
    overwrite: bool,
}

impl Trainer {
    /// A trainer that shows its progress, in the terminal or as a live picture in a notebook of our
    /// kernel, and writes no files.
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            folder: None,
            interrupt: Interrupt::default(),
            cadence: None,
            in_background: None,
            log_every: LOG_EVERY,
            losses_at_once: None,
            resume: false,
            overwrite: false,
        }
    }

    /// Writes config.json, metrics.jsonl, checkpoints and the best model.safetensors into a folder.
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().into());
        self
    }

    /// Stops after a step when asked to; what was learned stays in the model. In a notebook of our
    /// kernel its interrupt button asks too, without this.
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Writes a checkpoint every so many steps, beside the one at the end of each epoch. Where nothing
    /// is said, every 1,000 steps on the CPU and every 5 minutes on a GPU. For a GPU, whose steps go on
    /// while a checkpoint is written, one that is due meanwhile comes as soon as that is done.
    pub fn checkpoint_every(mut self, steps: u64) -> Self {
        self.cadence = Some(Cadence::Steps(steps));
        self
    }

    /// Writes a line to the log every so many steps.
    pub fn log_every(mut self, steps: u64) -> Self {
        self.log_every = steps;
        self
    }

    /// Reads the losses of so many steps at once. On the CPU each is read after its step where
    /// nothing is said; on a GPU, where to read one means to wait for it, 20 are.
    pub fn losses_at_once(mut self, steps: usize) -> Self {
        self.losses_at_once = Some(steps);
        self
    }

    /// Goes on from the newest checkpoint in the folder, as if the run had never stopped; begins
    /// anew where there is none.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Lets this run take the place of a former one in the folder.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Trains `model` on the corpus's training text. Afterwards the model has the weights of the
    /// epoch with the lowest validation loss, which is also the one tested; if interrupted, those
    /// of the last step; if a step went wrong, those before it.
    ///
    /// # Errors
    /// [`Error::Usage`] for an impossible recipe, too little text or a folder in use, [`Error::Diverged`] where the
    /// loss is no number, [`Error::Io`] where the folder cannot be written.
    pub fn fit_with(
        &self,
        model: &mut QrnnLm,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<TrainingRun> {
        let interrupt = self.interrupt.during_call();
        self.recipe.check()?;
        self.check_intervals()?;
        check_vocabulary(model, corpus)?;
        let recipe = &self.recipe;
        let columns = Batches::new(corpus.tokens(Split::Train), recipe.batch, "training")?;
        // Too short a text is better found before the epoch than after it.
        Batches::fixed(corpus.tokens(Split::Valid), recipe.valid_batch, "validation")?;
        Batches::fixed(corpus.tokens(Split::Test), 1, "test")?;
        let folder = self.folder.as_deref().map(RunDir::open).transpose()?;
        let checkpoint = match &folder {
            Some(folder) => {
                let run = (&*model, recipe, corpus);
                run_start::checkpoint_of(folder, self.resume, self.overwrite, run)?
            }
            None => None,
        };
        let restored = match &checkpoint {
            Some(path) => Some(checkpoint::load(path, model, recipe, corpus)?),
            None => None,
        };
        model.adopt_vocab(corpus);
        if let Some(folder) = &folder {
            folder.write_config(model.config(), recipe, corpus.name())?;
        }
        qrnn_ops::libtorch::keep_freed_memory();
        let log = folder.as_ref().map(RunDir::metrics).transpose()?;
        let device = model.options().1;
        let cadence = self.cadence.unwrap_or(Cadence::of(device));
        let mut session = Session {
            optimizer: Optimizer::new(model, recipe)?,
            state: model.zero_state(recipe.batch as i64)?,
            model,
            corpus,
            columns,
            recipe,
            writer: Writer::new(device, self.in_background.unwrap_or(device.is_cuda())),
            folder,
            log,
            show: progress,
            interrupt: &interrupt,
            schedule: Schedule::new(cadence, 0, Instant::now()),
            log_every: self.log_every,
            position: RunPosition::new(),
            pending: PendingSteps::new(self.losses_at_once, device)?,
            next: None,
            losses: vec![],
            identity: None,
            healthy: Tensor::f_ones(&[] as &[i64], (Kind::Float, device))?,
            best: None,
        };
        match restored {
            Some(restored) => session.restore(restored)?,
            None => session.start_new()?,
        }
        let rows = recipe.epochs.saturating_mul(columns.rows()) as u64;
        session.show.start(&Task::new("training", Unit::Rows, rows));
        let memory =
            Memory::estimate(session.model.config(), recipe, corpus.tokens(Split::Train).len());
        let run = session.run().map_err(|error| memory.explain(error));
        session.show.finish();
        run
    }

    /// # Errors
    /// [`Error::Usage`] for an interval of no steps.
    fn check_intervals(&self) -> Result<()> {
        let intervals = [
            ("--checkpoint-every", self.cadence == Some(Cadence::Steps(0))),
            ("--log-interval", self.log_every == 0),
            ("losses_at_once", self.losses_at_once == Some(0)),
        ];
        match intervals.into_iter().find(|(_, none)| *none) {
            None => Ok(()),
            Some((flag, _)) => Err(Error::usage(
                format!("{flag} 0"),
                "must be at least 1",
                "leave it out, or give a number of steps",
            )),
        }
    }
}

#[cfg(test)]
mod background;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod tests;
