//! Everything that a run needs to go on as if it had never stopped, in one file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::checkpoint_writer::Writer;
use super::identity::Identity;
use super::optimizer::Optimizer;
use super::recipe::Recipe;
use crate::data::Corpus;
use crate::files::run_folder::{CHECKPOINT, checkpoints};
use crate::files::tensor_file;
use crate::model::{LmConfig, QrnnLm, State};
use crate::progress::EpochReport;
use crate::{Error, Result};

/// Prefix of the optimizer's tensors in a checkpoint.
const OPTIMIZER: &str = "optimiser";

/// Checkpoints kept of a run.
const KEPT: usize = 2;

const REMEDY: &str =
    "delete this file to resume from the one before, or train anew in another --out";

/// Where a run stands, but for its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunPosition {
    /// Steps done since the beginning of the run.
    pub step: u64,
    /// The epoch at work, counted from 1.
    pub epoch: usize,
    /// Rows of it walked down.
    pub row: usize,
    /// Sum of its losses, each times its words.
    pub loss_sum: f64,
    /// Words of it trained on.
    pub words: usize,
    /// Time spent on it.
    pub seconds: f64,
    /// The epochs done.
    pub epochs: Vec<EpochReport>,
    /// The lowest validation loss so far, whose weights are in model.safetensors.
    pub best: Option<f64>,
    /// Words trained on since the beginning of the run.
    pub tokens: u64,
    /// Time spent in training steps.
    pub step_seconds: f64,
    /// Bytes of metrics.jsonl that belong to what was done.
    pub log_bytes: u64,
    /// Loss, words and seconds since the last line of the log.
    pub since_log: (f64, usize, f64),
}

impl RunPosition {
    pub(super) fn new() -> Self {
        Self {
            step: 0,
            epoch: 1,
            row: 0,
            loss_sum: 0.0,
            words: 0,
            seconds: 0.0,
            epochs: vec![],
            best: None,
            tokens: 0,
            step_seconds: 0.0,
            log_bytes: 0,
            since_log: (0.0, 0, 0.0),
        }
    }

    /// Restores a best loss that was not finite: JSON holds it as null, as it does one that is not
    /// there. Once an epoch is done, or finetuning has judged what it began with, there is one.
    fn complete(&mut self, recipe: &Recipe) {
        let judged = !self.epochs.is_empty() || (recipe.finetune && self.step > 0);
        if self.best.is_none() && judged {
            self.best = Some(f64::INFINITY);
        }
    }
}

/// What the file's note says.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    #[serde(rename = "progress")]
    position: RunPosition,
    model: LmConfig,
    recipe: Recipe,
    #[serde(rename = "optimiser")]
    optimizer: String,
    /// Which run this is of, and which texts it reads; not in files of version 0.1 at first.
    #[serde(default)]
    identity: Option<Identity>,
}

/// What a checkpoint restores beside the model's weights.
pub(super) struct Restored {
    pub position: RunPosition,
    pub optimizer: Optimizer,
    pub state: State,
    pub losses: Vec<f64>,
    /// `None` in a file that does not say it.
    pub identity: Option<Identity>,
}

/// The newest checkpoint of before a step that went wrong: one of after it has the very weights with
/// which that step goes wrong.
pub(super) fn before(folder: &Path, step: u64) -> Option<PathBuf> {
    let all = checkpoints(folder).ok()?;
    all.into_iter().rev().find(|(written, _)| *written < step).map(|(_, path)| path)
}

/// All that a checkpoint holds.
pub(super) struct Contents<'a> {
    pub model: &'a QrnnLm,
    pub recipe: &'a Recipe,
    pub position: &'a RunPosition,
    pub optimizer: &'a Optimizer,
    pub state: &'a State,
    pub losses: &'a [f64],
    pub identity: Option<&'a Identity>,
}

/// Writes a checkpoint, and then deletes all but the newest two. Where the writer works in the
/// background, the checkpoint is of this moment all the same.
///
/// # Errors
/// [`Error::Io`] where the disk is full; the checkpoints before stay.
pub(super) fn save(writer: &mut Writer, folder: &Path, contents: &Contents<'_>) -> Result<()> {
    let &Contents { model, recipe, position, optimizer, state, losses, identity } = contents;
    let note = Note {
        position: position.clone(),
        model: model.config().clone(),
        recipe: recipe.clone(),
        optimizer: optimizer.name().into(),
        identity: identity.cloned(),
    };
    let path = folder.join(format!("checkpoint-{}.safetensors", position.step));
    let note =
        serde_json::to_string(&note).map_err(|error| Error::io(&path, "write")(error.into()))?;
    let losses = Tensor::f_from_slice(losses)?;
    let mut tensors: Vec<(String, &Tensor)> = vec![("losses".into(), &losses)];
    let named = |prefix: &str, (name, tensor)| (format!("{prefix}.{name}"), tensor);
    tensors.extend(model.parameters().into_iter().map(|entry| named("model", entry)));
    let optimizer_tensors = optimizer.tensors()?;
    let borrowed = optimizer_tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
    tensors.extend(borrowed.map(|entry| named(OPTIMIZER, entry)));
    tensors.push(("state.last_input".into(), &state.previous_input));
    for (i, layer) in state.layers.iter().enumerate() {
        tensors.push((format!("state.{i}"), layer));
    }
    let folder = folder.to_owned();
    let mut metadata = crate::model::metadata(model)?;
    metadata.insert(CHECKPOINT.to_owned(), note);
    writer.write(&path, &tensors, metadata, move || prune(&folder))
}

/// Deletes all checkpoints but the newest.
fn prune(folder: &Path) -> Result<()> {
    let all = checkpoints(folder)?;
    for (_, old) in all.iter().take(all.len().saturating_sub(KEPT)) {
        std::fs::remove_file(old).map_err(Error::io(old, "delete"))?;
    }
    Ok(())
}

/// Restores a checkpoint into `model`.
///
/// # Errors
/// [`Error::BadFile`] where the file is damaged; [`Error::Usage`] where it is of a run with other
/// settings (the number of epochs and of steps may differ).
pub(super) fn load(
    path: &Path,
    model: &mut QrnnLm,
    recipe: &Recipe,
    corpus: &Corpus,
) -> Result<Restored> {
    let file = tensor_file::read(path, REMEDY)?;
    let damaged = |problem: String| Error::bad_file(path, problem, REMEDY);
    if !tensor_file::has_checksum(&file) {
        return Err(damaged("has no sum of its bytes: is no checkpoint, or a spoiled one".into()));
    }
    let note = file.metadata.get(CHECKPOINT).ok_or_else(|| damaged("is no checkpoint".into()))?;
    let mut note: Note = serde_json::from_str(note)
        .map_err(|error| damaged(format!("is a checkpoint of another version ({error})")))?;
    crate::model::check_words(path, &file.metadata, corpus)?;
    note.position.complete(&note.recipe);
    check_same(&note, model.config(), recipe)?;
    if let Some(identity) = &note.identity {
        identity.check(path, corpus)?;
    }

    let (kind, device) = model.options();
    let take = |name: String, like: Option<&Tensor>| -> Result<Tensor> {
        let tensor =
            file.tensors.get(&name).ok_or_else(|| damaged(format!("has no tensor {name}")))?;
        if let Some(like) = like
            && like.size() != tensor.size()
        {
            let sizes = (tensor.size(), like.size());
            return Err(damaged(format!("{name} has shape {:?}, not {:?}", sizes.0, sizes.1)));
        }
        Ok(tensor.f_to_device(device)?)
    };
    let weights = model
        .parameters()
        .into_iter()
        .map(|(name, tensor)| take(format!("model.{name}"), Some(tensor)))
        .collect::<Result<Vec<_>>>()?;
    model.set_weights(&weights)?;
    let optimizer = Optimizer::restored(model, &note.optimizer, &|name, like| {
        take(format!("{OPTIMIZER}.{name}"), like)
    })?
    .ok_or_else(|| damaged(format!("has an optimizer '{}'", note.optimizer)))?;
    let zero = model.zero_state(recipe.batch as i64)?;
    let of_state = |name: &str, like: &Tensor| -> Result<Tensor> {
        Ok(take(format!("state.{name}"), Some(like))?.f_to_kind(kind)?)
    };
    let state = State {
        previous_input: of_state("last_input", &zero.previous_input)?,
        layers: zero
            .layers
            .iter()
            .enumerate()
            .map(|(i, like)| of_state(&i.to_string(), like))
            .collect::<Result<_>>()?,
    };
    let losses = take("losses".into(), None)?.f_to_kind(Kind::Double)?.f_view(-1)?;
    let (position, identity) = (note.position, note.identity);
    Ok(Restored { position, optimizer, state, losses: Vec::try_from(losses)?, identity })
}

/// Going on with other settings would be neither run.
fn check_same(note: &Note, model: &LmConfig, recipe: &Recipe) -> Result<()> {
    match difference((&note.model, &note.recipe), (model, recipe)) {
        None => Ok(()),
        Some((field, theirs, ours)) => Err(Error::usage(
            "--resume",
            format!("the run in this folder has {field} {theirs}, this call says {ours}"),
            "give the settings of that run (only --epochs and --steps may change), or train anew \
             in another --out",
        )),
    }
}

/// The first setting in which two runs differ, as JSON shows it: its name and both values. The number
/// of epochs and of steps may.
pub(super) fn difference(
    (model, recipe): (&LmConfig, &Recipe),
    (other_model, other_recipe): (&LmConfig, &Recipe),
) -> Option<(String, String, String)> {
    let comparable = |recipe: &Recipe| Recipe { epochs: 1, steps: None, ..recipe.clone() };
    first_difference(model, other_model)
        .or_else(|| first_difference(&comparable(recipe), &comparable(other_recipe)))
}

fn first_difference(a: &impl Serialize, b: &impl Serialize) -> Option<(String, String, String)> {
    let (a, b) = (serde_json::to_value(a).ok()?, serde_json::to_value(b).ok()?);
    let (a, b) = (a.as_object()?, b.as_object()?);
    a.iter().find_map(|(field, value)| {
        let other = b.get(field)?;
        (value != other).then(|| (field.clone(), value.to_string(), other.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reread(position: &RunPosition, recipe: &Recipe) -> RunPosition {
        let note = serde_json::to_string(position).unwrap();
        let mut read: RunPosition = serde_json::from_str(&note).unwrap();
        read.complete(recipe);
        read
    }

    #[test]
    fn a_best_loss_that_is_infinite_comes_back_and_one_that_is_not_there_does_not() {
        let (recipe, finetuning) = (Recipe::paper(), Recipe { finetune: true, ..Recipe::paper() });
        let report = EpochReport {
            epoch: 1,
            train_loss: 2.0,
            valid_loss: f64::INFINITY,
            valid_ppl: f64::INFINITY,
            seconds: 1.0,
        };
        let pending = RunPosition { step: 7, ..RunPosition::new() };
        assert_eq!(reread(&pending, &recipe), pending);
        let best = Some(f64::INFINITY);
        let done = RunPosition { epochs: vec![report], best, ..pending.clone() };
        assert_eq!(reread(&done, &recipe), done);
        let judged = RunPosition { best, ..pending };
        assert_eq!(reread(&judged, &finetuning), judged);
        let stopped = RunPosition::new();
        assert_eq!(reread(&stopped, &finetuning), stopped);
    }
}
