//! Runs a trainer: checks, the folder, then the training loop.

use std::time::Instant;

use tch::{Kind, Tensor};

use super::checkpoint_schedule::{CheckpointInterval, CheckpointSchedule};
use super::checkpoint_writer::Writer;
use super::compression::Compression;
use super::data_parallel::{DataParallel, Settings, check_columns, is_common};
use super::memory::Memory;
use super::optimizer::Optimizer;
use super::pending::PendingSteps;
use super::position::RunPosition;
use super::run_dir::RunDir;
use super::run_start::{self, RunStart};
use super::trainer::{Folder, Trainer};
use super::training_loop::TrainingLoop;
use super::training_run::TrainingRun;
use super::workers::{Announced, announce};
use crate::compress::CompressedLm;
use crate::data::{Batches, Corpus, Split};
use crate::interrupt::Interrupt;
use crate::model::{QrnnLm, check_vocabulary};
use crate::progress::{Progress, Silent, Task, Unit};
use crate::{Error, Result};
use qrnn_ops::process_group::ProcessGroup;

impl Trainer {
    /// As [`Trainer::fit_with`]; returns the compressed model of the best epoch as well, if there is one.
    pub(super) fn fit_and_compress(
        &self,
        model: &mut QrnnLm,
        corpus: &Corpus,
        progress: &mut dyn Progress,
    ) -> Result<(TrainingRun, Option<CompressedLm>)> {
        let batches = self.check(model, corpus).inspect_err(|error| self.tell(error))?;
        let interrupt = self.interrupt.during_call();
        let Some(group) = self.group.as_ref().filter(|group| group.world_size() > 1) else {
            let parallel = DataParallel::alone(self.recipe.batch);
            return self.train(model, (corpus, batches), parallel, progress, &interrupt);
        };
        let progress: &mut dyn Progress = if group.rank() == 0 { progress } else { &mut Silent };
        let result = self.train_together(group, model, (corpus, batches), progress, interrupt);
        if let Err(error) = &result
            && !is_common(error)
        {
            group.fail(&error.to_string());
        }
        result
    }

    /// Tells the other processes of a group, which would wait for this one, of an error. Workers wait for a run that is
    /// announced, and this one was not.
    fn tell(&self, error: &Error) {
        if let (Some(group), false) = (&self.group, self.leads) {
            group.fail(&error.to_string());
        }
    }

    fn train_together(
        &self,
        group: &ProcessGroup,
        model: &mut QrnnLm,
        (corpus, batches): (&Corpus, Batches<'_>),
        progress: &mut dyn Progress,
        interrupt: Interrupt,
    ) -> Result<(TrainingRun, Option<CompressedLm>)> {
        if self.leads {
            let settings = Announced {
                recipe: &self.recipe,
                compression: self.compression.as_ref(),
                log_every: self.log_every,
                losses_at_once: self.losses_at_once,
            };
            announce(group, model, corpus, &settings, &interrupt)?;
        }
        group.begin_call();
        let interrupt = interrupt.or(group.stop_elsewhere());
        self.settings(model, corpus).compare(group, &interrupt)?;
        let parallel = DataParallel::new(group, self.recipe.batch, model, self.overlaps);
        self.train(model, (corpus, batches), parallel, progress, &interrupt)
    }

    /// Checks what this process can check by itself; returns the batches of the training text.
    fn check<'a>(&self, model: &QrnnLm, corpus: &'a Corpus) -> Result<Batches<'a>> {
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
        let batches = Batches::new(corpus.tokens(Split::Train), recipe.batch, "training")?;
        // Refuse a text that is too short before the epoch, not after it.
        Batches::fixed(corpus.tokens(Split::Valid), recipe.valid_batch, "validation")?;
        Batches::fixed(corpus.tokens(Split::Test), 1, "test")?;
        if let Some(group) = &self.group {
            check_columns(recipe.batch, group.world_size())?;
        }
        Ok(batches)
    }

    fn train(
        &self,
        model: &mut QrnnLm,
        (corpus, batches): (&Corpus, Batches<'_>),
        mut parallel: DataParallel,
        progress: &mut dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<(TrainingRun, Option<CompressedLm>)> {
        let recipe = &self.recipe;
        let folder = match &self.folder {
            _ if !parallel.is_main() => None,
            Some(Folder::Path(path)) => Some(RunDir::open_with(path, interrupt, progress)?),
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
            interrupt,
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
        let memory =
            Memory::estimate(training.model.config(), recipe, corpus.tokens(Split::Train).len());
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
