//! Starts a run: fresh, or from a checkpoint. Files of another run are never lost.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::checkpoint::{self, Restored};
use super::identity::Identity;
use super::recipe::Recipe;
use super::record::Record;
use super::run_dir::RunDir;
use super::run_files::RUN;
use super::run_log::RunLog;
use super::training_loop::TrainingLoop;
use crate::compress::{CompressedLm, Gradual};
use crate::data::Corpus;
use crate::files::run_folder::{WEIGHTS, checkpoints};
use crate::model::{QrnnLm, SavedModel};
use crate::{Error, Result};

/// How a run starts.
pub(super) enum RunStart {
    Fresh,
    Resumed(Box<Restored>),
}

/// Decides how a run in this folder starts. If the run is resumed, `model` gets the weights of the newest checkpoint.
///
/// # Errors
/// [`Error::Busy`] if the folder holds files that would be lost, or a run with other settings;
/// [`Error::BadFile`] if the checkpoint is damaged.
pub(super) fn open(
    folder: &RunDir,
    resume: bool,
    overwrite: bool,
    (model, recipe, corpus, compression): (&mut QrnnLm, &Recipe, &Corpus, Option<&Gradual>),
) -> Result<RunStart> {
    match checkpoint_in(folder, resume, overwrite, (&*model, recipe, corpus, compression))? {
        Some(path) => {
            let restored = checkpoint::load(&path, model, recipe, corpus, compression)?;
            Ok(RunStart::Resumed(Box::new(restored)))
        }
        None => Ok(RunStart::Fresh),
    }
}

/// The checkpoint that a run continues from; `None` if it starts anew, for which the folder is free.
///
/// # Errors
/// [`Error::Busy`] if the folder holds files that would be lost; [`Error::BadFile`] if its config.json is
/// damaged.
fn checkpoint_in(
    folder: &RunDir,
    resume: bool,
    overwrite: bool,
    (model, recipe, corpus, compression): (&QrnnLm, &Recipe, &Corpus, Option<&Gradual>),
) -> Result<Option<PathBuf>> {
    let newest = checkpoints(folder.path())?.pop().map(|(_, path)| path);
    let files = folder.existing_files()?;
    let config = if resume { RunDir::config_of(&folder.weights())? } else { None };
    let out = folder.path().display().to_string();
    match newest {
        Some(newest) if resume => return Ok(Some(newest)),
        _ if files.is_empty() => return Ok(None),
        _ if overwrite => return folder.clear().map(|()| None),
        _ => {}
    }
    let names = files.join(", ");
    if !resume {
        return Err(Error::busy(
            out,
            format!("the folder holds {names}, which would be lost"),
            "continue the run with `.resume(true)`, replace it with `.overwrite(true)`, or name another \
             folder",
        ));
    }
    // Killed before its first checkpoint, a run leaves its settings, perhaps some lines of its log, and perhaps the
    // weights of its first epoch.
    let is_of_start = |name: &&str| ["config.json", "metrics.jsonl", WEIGHTS].contains(name);
    let only_started = files.iter().all(is_of_start)
        && (!files.contains(&WEIGHTS) || are_ours(folder, (model, recipe, corpus, compression))?);
    let refused = |problem: String| {
        Err(Error::busy(
            out,
            problem,
            "name another folder, or replace the run with `.overwrite(true)` instead of .resume(true)",
        ))
    };
    if !only_started {
        return refused(format!("the folder holds {names}, but no checkpoint to resume from"));
    }
    let Some(config) = config else {
        return refused(format!("the folder holds {names}, but not the settings of a run"));
    };
    if config.corpus != corpus.name() {
        let (theirs, ours) = (&config.corpus, corpus.name());
        return refused(format!(
            "the run in this folder was started on {theirs}, but this call trains on {ours}"
        ));
    }
    if config.ids != corpus.ids() {
        let (theirs, ours) = (config.ids.in_words(), corpus.ids().in_words());
        return refused(format!(
            "the run in this folder was started on ids {theirs}, but those of this call are {ours} \
             (`.by_frequency()`)"
        ));
    }
    let recipes = (&config.recipe, recipe);
    let difference = checkpoint::difference(
        (&config.model, &config.recipe),
        (model.config(), recipe),
    )
    .or_else(|| {
        checkpoint::compression_difference(config.compression.as_ref(), compression, recipes)
    });
    match difference {
        None => Ok(None),
        Some((field, theirs, ours)) => refused(format!(
            "the run in this folder was started with {field} {theirs}, but this call has {ours}"
        )),
    }
}

/// Whether the weights in the folder are of the first epoch of the run that these settings start: nothing is lost
/// if it is trained again.
fn are_ours(
    folder: &RunDir,
    (model, recipe, corpus, compression): (&QrnnLm, &Recipe, &Corpus, Option<&Gradual>),
) -> Result<bool> {
    let Ok(log) = RunLog::read(folder.path()) else { return Ok(false) };
    let ends = log.records.iter().filter(|record| !matches!(record, Record::Steps { .. }));
    if ends.count() > 1 {
        return Ok(false);
    }
    let saved = SavedModel::open(folder.weights())?;
    Ok(saved.metadata(RUN) == Some(Identity::new(model, recipe, corpus, compression)?.run.as_str()))
}

impl TrainingLoop<'_> {
    /// Starts a new run, or continues one; the model has the weights of the checkpoint already.
    pub(super) fn start(&mut self, start: RunStart) -> Result<()> {
        match start {
            RunStart::Fresh => self.start_fresh(),
            RunStart::Resumed(restored) => self.resume(*restored),
        }
    }

    fn resume(&mut self, restored: Restored) -> Result<()> {
        self.position = restored.position;
        self.optimizer = restored.optimizer;
        self.state = restored.state;
        self.losses = restored.losses;
        self.identity = restored.identity;
        self.compression = restored.compression;
        if self.identity.is_none() {
            let name = self.corpus.name();
            self.progress.message(&format!(
                "the checkpoint does not state its training text (version 0.1 wrote it): whether it \
                 was {name} could not be checked"
            ));
        }
        self.checkpoint_schedule.written(self.position.step, Instant::now());
        self.restore_best()?;
        let Some(log) = &mut self.log else { return Ok(()) };
        let epochs_in_log = log.truncate(self.position.log_bytes, self.position.step)?;
        if let Some(known) = epochs_in_log {
            // The checkpoint has its epochs, too.
            for epoch in self.position.epochs.iter().filter(|epoch| !known.contains(&epoch.epoch)) {
                log.add(&Record::Epoch(epoch.clone()))?;
            }
            self.progress.message(
                "metrics.jsonl is missing, or is not the log of this run up to its checkpoint: epochs that it \
                 lacks were added, steps that it lacks are lost",
            );
        }
        Ok(())
    }

    /// Reads the best weights so far from model.safetensors.
    fn restore_best(&mut self) -> Result<()> {
        let (Some(loss), Some(folder)) = (self.position.best, &self.folder) else { return Ok(()) };
        if self.compression.is_some() {
            return self.restore_best_compressed(loss);
        }
        let (path, trained) = (folder.weights(), self.model.weight_copies()?);
        if path.exists() {
            let saved = SavedModel::open(&path)?;
            let ours = self.identity.as_ref().map(|identity| identity.run.as_str());
            if saved.metadata(RUN) != ours {
                return Err(of_another_run(&path));
            }
            saved.load_into(self.model)?;
            self.best = Some(self.model.weight_copies()?);
            return self.model.set_weights(&trained);
        }
        self.progress.message(&format!(
            "{} is missing, and with it the best weights so far (validation loss {loss:.4}): the \
             weights of the checkpoint take their place until the next epoch ends",
            path.display()
        ));
        self.position.best = None;
        self.save_weights()?;
        self.best = Some(trained);
        Ok(())
    }

    /// Reads the best compressed model so far from model.safetensors.
    fn restore_best_compressed(&mut self, loss: f64) -> Result<()> {
        let Some(path) = self.folder.as_ref().map(RunDir::weights) else { return Ok(()) };
        if !path.exists() {
            self.progress.message(&format!(
                "{} is missing, and with it the best compressed model so far (validation loss {loss:.4}): the \
                 next epoch counts as the best",
                path.display()
            ));
            self.position.best = None;
            return Ok(());
        }
        let saved = SavedModel::open(&path)?;
        let ours = self.identity.as_ref().map(|identity| identity.run.as_str());
        if saved.metadata(RUN) != ours {
            return Err(of_another_run(&path));
        }
        let best = CompressedLm::of(saved, self.model.options().1)?;
        if let Some(compression) = &mut self.compression {
            compression.best = Some(best);
        }
        Ok(())
    }

    fn start_fresh(&mut self) -> Result<()> {
        self.identity = match &self.folder {
            Some(_) => {
                let compression =
                    self.compression.as_ref().map(|compression| &compression.settings);
                Some(Identity::new(self.model, self.recipe, self.corpus, compression)?)
            }
            None => None,
        };
        match &mut self.log {
            Some(log) => log.truncate(0, 0).map(drop),
            None => Ok(()),
        }
    }
}

fn of_another_run(weights: &Path) -> Error {
    Error::mismatch(
        "`.resume(true)`",
        format!("{} is of another run than the checkpoint beside it", weights.display()),
        "put the model.safetensors of this run there, or move that one away: without one the run resumes, and \
         its next epoch counts as the best",
    )
}
