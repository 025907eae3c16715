//! How a run begins: anew, or where a checkpoint left it. Nothing that a folder holds is lost to it.

use std::path::PathBuf;
use std::time::Instant;

use super::checkpoint::{self, Restored};
use super::identity::Identity;
use super::recipe::Recipe;
use super::record::Record;
use super::run_dir::RunDir;
use super::run_files::RUN;
use super::training_loop::Session;
use crate::data::Corpus;
use crate::files::run_folder::checkpoints;
use crate::model::{QrnnLm, SavedModel};
use crate::{Error, Result};

/// The checkpoint that a run is to go on from; `None` where it begins anew, which it may after this.
///
/// # Errors
/// [`Error::Usage`] where the folder holds something that would be lost.
pub(super) fn checkpoint_of(
    folder: &RunDir,
    resume: bool,
    overwrite: bool,
    (model, recipe, corpus): (&QrnnLm, &Recipe, &Corpus),
) -> Result<Option<PathBuf>> {
    let newest = checkpoints(folder.path())?.pop().map(|(_, path)| path);
    let held = folder.held()?;
    let out = format!("--out {}", folder.path().display());
    match newest {
        Some(newest) if resume => return Ok(Some(newest)),
        _ if held.is_empty() => return Ok(None),
        _ if overwrite => return folder.clear().map(|()| None),
        _ => {}
    }
    let names = held.join(", ");
    if !resume {
        return Err(Error::usage(
            out,
            format!("the folder holds {names}, and nothing of it is to be lost"),
            "go on with a run by `--resume`, replace it by `--overwrite`, or name another folder",
        ));
    }
    // Killed before its first checkpoint, a run has left its settings and perhaps some lines of its log.
    let only_begun = held.iter().all(|name| ["config.json", "metrics.jsonl"].contains(name));
    let refused = |problem: String| {
        Err(Error::usage(
            out,
            problem,
            "name another folder, or replace what is there by `--overwrite` in place of --resume",
        ))
    };
    if !only_begun {
        return refused(format!("the folder holds {names}, but no checkpoint to go on from"));
    }
    let Some(pending) = RunDir::config_beside(&folder.weights()).ok().flatten() else {
        return refused(format!("the folder holds {names}, but not the settings of a run"));
    };
    if pending.corpus != corpus.name() {
        let (theirs, ours) = (&pending.corpus, corpus.name());
        return refused(format!(
            "a run that read {theirs} was begun in the folder, and this one reads {ours}"
        ));
    }
    match checkpoint::difference((&pending.model, &pending.recipe), (model.config(), recipe)) {
        None => Ok(None),
        Some((field, theirs, ours)) => refused(format!(
            "a run with {field} {theirs} was begun in the folder, and this call says {ours}"
        )),
    }
}

impl Session<'_> {
    /// Takes over what a checkpoint restored; the model has its weights already.
    pub(super) fn restore(&mut self, restored: Restored) -> Result<()> {
        self.position = restored.position;
        self.optimizer = restored.optimizer;
        self.state = restored.state;
        self.losses = restored.losses;
        self.identity = restored.identity;
        if self.identity.is_none() {
            let name = self.corpus.name();
            self.show.message(&format!(
                "the checkpoint does not say which text it was trained on (version 0.1 wrote it): \
                 that it was {name} could not be checked"
            ));
        }
        self.schedule.written(self.position.step, Instant::now());
        self.restore_best()?;
        let Some(log) = &mut self.log else { return Ok(()) };
        let epochs_in_log = log.truncate(self.position.log_bytes, self.position.step)?;
        if let Some(known) = epochs_in_log {
            // Its epochs are in the checkpoint, too.
            for epoch in self.position.epochs.iter().filter(|epoch| !known.contains(&epoch.epoch)) {
                log.add(&Record::Epoch(epoch.clone()))?;
            }
            self.show.message(
                "metrics.jsonl is not the log of this run up to its checkpoint: whole lines that were \
                 there were kept, the epochs were added, and the rest of the steps are missing in it",
            );
        }
        Ok(())
    }

    /// The best weights so far, which are in model.safetensors.
    fn restore_best(&mut self) -> Result<()> {
        let (Some(loss), Some(folder)) = (self.position.best, &self.folder) else { return Ok(()) };
        let (path, trained) = (folder.weights(), self.model.weight_copies()?);
        if path.exists() {
            let saved = SavedModel::open(&path)?;
            let ours = self.identity.as_ref().map(|identity| identity.run.as_str());
            if saved.note(RUN) != ours {
                return Err(Error::usage(
                    "--resume",
                    format!("{} is of another run than the checkpoint beside it", path.display()),
                    "put the model.safetensors of this run there, or move that one away: without \
                     one the run goes on, and its next epoch counts as the best",
                ));
            }
            saved.load_into(self.model)?;
            self.best = Some(self.model.weight_copies()?);
            return self.model.set_weights(&trained);
        }
        self.show.message(&format!(
            "{} is missing, and with it the best weights so far (validation loss {loss:.4}): the \
             weights of the checkpoint take their place until the next epoch ends",
            path.display()
        ));
        self.position.best = None;
        self.save_weights()?;
        self.best = Some(trained);
        Ok(())
    }

    /// A new run: its log is empty.
    pub(super) fn start_new(&mut self) -> Result<()> {
        self.identity = match &self.folder {
            Some(_) => Some(Identity::new(self.model, self.recipe, self.corpus)?),
            None => None,
        };
        match &mut self.log {
            Some(log) => log.truncate(0, 0).map(drop),
            None => Ok(()),
        }
    }
}
