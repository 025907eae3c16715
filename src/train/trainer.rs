//! The training loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use tch::{Kind, Tensor};

use super::beginning;
use super::cadence::{Cadence, Schedule};
use super::checkpoint::{self, Progress};
use super::checkpoint_writer::Writer;
use super::memory::Memory;
use super::metrics::EpochReport;
use super::optimizer::Optimiser;
use super::pending::Begun;
use super::progress::Observer;
use super::recipe::Recipe;
use super::run_dir::RunDir;
use super::session::Session;
use crate::data::Batches;
use crate::data::{Corpus, Split};
use crate::interrupt::Interrupt;
use crate::model::{LmConfig, QrnnLm, check_vocabulary};
use crate::view::report::cells::perplexity_in_text;
use crate::view::show::Training;
use crate::{Error, Result, json};

/// Steps between two lines of the log, where the caller says nothing.
pub(super) const LOG_EVERY: u64 = 20;

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
    observer: Box<dyn Observer>,
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

/// What a training run came to.
#[derive(Debug, Clone, Serialize)]
pub struct TrainingRun {
    /// The model's configuration.
    #[serde(skip)]
    pub config: LmConfig,
    /// The recipe.
    #[serde(skip)]
    pub recipe: Recipe,
    /// One entry an epoch.
    pub epochs: Vec<EpochReport>,
    /// Cross entropy of each step, in nats a word, without the regularisers.
    pub losses: Vec<f64>,
    /// Mean cross entropy of the best model on the test text, in nats a word.
    pub test_loss: Option<f64>,
    /// exp(test_loss).
    pub test_ppl: Option<f64>,
    /// Trained numbers of the model.
    pub parameters: u64,
    /// Words trained on, over the time spent in training steps.
    pub tokens_per_second: f64,
    /// Words trained on.
    pub tokens: u64,
    /// Where the weights were written, if anywhere.
    #[serde(serialize_with = "json::optional_path")]
    pub checkpoint: Option<PathBuf>,
    /// Time of the whole run.
    pub seconds: f64,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
}

impl Trainer {
    /// A trainer that shows its progress, in the terminal or as a live picture in a notebook of our
    /// kernel, and writes no files.
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            folder: None,
            observer: Training::or_terminal(),
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

    /// Shows progress by an observer of one's own; [`super::Quiet`] shows none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Box::new(observer);
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
    pub fn fit(&mut self, model: &mut QrnnLm, corpus: &Corpus) -> Result<TrainingRun> {
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
                beginning::checkpoint_of(folder, self.resume, self.overwrite, run)?
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
            optimiser: Optimiser::new(model, recipe)?,
            state: model.zero_state(recipe.batch as i64)?,
            model,
            corpus,
            columns,
            recipe,
            writer: Writer::new(device, self.in_background.unwrap_or(device.is_cuda())),
            folder,
            log,
            observer: self.observer.as_mut(),
            interrupt: &interrupt,
            schedule: Schedule::new(cadence, 0, Instant::now()),
            log_every: self.log_every,
            progress: Progress::new(),
            begun: Begun::new(self.losses_at_once, device)?,
            next: None,
            losses: vec![],
            identity: None,
            healthy: Tensor::f_ones(&[] as &[i64], (Kind::Float, device))?,
            best: None,
        };
        match restored {
            Some(restored) => session.restore(restored)?,
            None => session.begin_anew()?,
        }
        session.observer.begin(recipe.epochs, columns.rows());
        let memory =
            Memory::estimate(session.model.config(), recipe, corpus.tokens(Split::Train).len());
        let run = session.run().map_err(|error| memory.explain(error));
        session.observer.end();
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

impl std::fmt::Display for TrainingRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} parameters, {} words in {:.1} s, {:.0} words/s",
            self.parameters, self.tokens, self.seconds, self.tokens_per_second
        )?;
        for epoch in &self.epochs {
            writeln!(
                f,
                "epoch {:>3}  train loss {:.4}  valid loss {:.4}  valid ppl {}",
                epoch.epoch,
                epoch.train_loss,
                epoch.valid_loss,
                perplexity_in_text(epoch.valid_loss)
            )?;
        }
        match self.test_loss {
            Some(loss) => {
                write!(f, "test loss {loss:.4}  test ppl {}", perplexity_in_text(loss))
            }
            None => write!(f, "interrupted, not tested"),
        }
    }
}

#[cfg(test)]
mod background;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod tests;
