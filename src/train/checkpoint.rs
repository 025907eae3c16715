//! Checkpoints: all that a run needs to continue as if it had never stopped, in one file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::checkpoint_writer::Writer;
use super::compression::Compression;
use super::identity::Identity;
use super::optimizer::Optimizer;
use super::position::RunPosition;
use super::recipe::Recipe;
use crate::compress::Gradual;
use crate::data::Corpus;
use crate::files::run_folder::{CHECKPOINT, checkpoints};
use crate::files::tensor_file;
use crate::model::{LmConfig, QrnnLm, State};
use crate::{Error, Result};

/// Prefix of the optimizer's tensors in a checkpoint.
const OPTIMIZER: &str = "optimiser";

/// Prefix of masks, scales and codebooks.
const COMPRESSION: &str = "compression";

/// Number of checkpoints that stay in the folder.
const KEPT: usize = 2;

const REMEDY: &str =
    "delete this file to resume from the one before, or start a new run in another folder";

/// The JSON in a checkpoint's metadata.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    #[serde(rename = "progress")]
    position: RunPosition,
    model: LmConfig,
    recipe: Recipe,
    #[serde(rename = "optimiser")]
    optimizer: String,
    /// Missing in the first files of version 0.1.
    #[serde(default)]
    identity: Option<Identity>,
    /// Of a run that compresses its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compression: Option<Gradual>,
}

/// What a checkpoint restores, besides the model's weights.
pub(super) struct Restored {
    pub position: RunPosition,
    pub optimizer: Optimizer,
    pub state: State,
    pub losses: Vec<f64>,
    /// `None` in the first files of version 0.1.
    pub identity: Option<Identity>,
    pub compression: Option<Compression>,
}

/// The newest checkpoint before a step that diverged: a later one has the weights with which that step
/// diverges.
pub(super) fn newest_before(folder: &Path, step: u64) -> Option<PathBuf> {
    let all = checkpoints(folder).ok()?;
    all.into_iter().rev().find(|(written, _)| *written < step).map(|(_, path)| path)
}

/// Contents of a checkpoint.
pub(super) struct Contents<'a> {
    pub model: &'a QrnnLm,
    pub recipe: &'a Recipe,
    pub position: &'a RunPosition,
    pub optimizer: &'a Optimizer,
    pub state: &'a State,
    pub losses: &'a [f64],
    pub identity: Option<&'a Identity>,
    pub compression: Option<&'a Compression>,
}

/// Writes a checkpoint of the current state, in the background if the writer does, then deletes all but the
/// newest two.
///
/// # Errors
/// [`Error::Io`] if the disk is full; earlier checkpoints stay.
pub(super) fn save(writer: &mut Writer, folder: &Path, contents: &Contents<'_>) -> Result<()> {
    let &Contents { model, recipe, position, optimizer, state, losses, identity, compression } =
        contents;
    let saved = Metadata {
        position: position.clone(),
        model: model.config().clone(),
        recipe: recipe.clone(),
        optimizer: optimizer.name().into(),
        identity: identity.cloned(),
        compression: compression.map(|compression| compression.settings.clone()),
    };
    let path = folder.join(format!("checkpoint-{}.safetensors", position.step));
    let json =
        serde_json::to_string(&saved).map_err(|error| Error::io(&path, "write")(error.into()))?;
    let losses = Tensor::f_from_slice(losses)?;
    let mut tensors: Vec<(String, &Tensor)> = vec![("losses".into(), &losses)];
    let named = |prefix: &str, (name, tensor)| (format!("{prefix}.{name}"), tensor);
    tensors.extend(model.parameters().into_iter().map(|entry| named("model", entry)));
    let optimizer_tensors = optimizer.tensors()?;
    let borrowed = optimizer_tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
    tensors.extend(borrowed.map(|entry| named(OPTIMIZER, entry)));
    let compression_tensors = compression.map_or(Ok(vec![]), Compression::tensors)?;
    let borrowed = compression_tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
    tensors.extend(borrowed.map(|entry| named(COMPRESSION, entry)));
    tensors.extend(state.tensors().into_iter().map(|entry| named("state", entry)));
    let folder = folder.to_owned();
    let mut metadata = crate::model::metadata(model)?;
    metadata.insert(CHECKPOINT.to_owned(), json);
    writer.write(&path, &tensors, metadata, move || prune(&folder))
}

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
/// [`Error::BadFile`] if the file is damaged; [`Error::Mismatch`] if it is of a run with other
/// settings (the number of epochs and of steps may differ).
pub(super) fn load(
    path: &Path,
    model: &mut QrnnLm,
    recipe: &Recipe,
    corpus: &Corpus,
    compression: Option<&Gradual>,
) -> Result<Restored> {
    let file = tensor_file::read(path, REMEDY)?;
    let damaged = |problem: String| Error::bad_file(path, problem, REMEDY);
    if !tensor_file::has_checksum(&file) {
        return Err(damaged("has no checksum: it is not a checkpoint, or damaged".into()));
    }
    let json =
        file.metadata.get(CHECKPOINT).ok_or_else(|| damaged("is not a checkpoint".into()))?;
    let mut saved: Metadata = serde_json::from_str(json)
        .map_err(|error| damaged(format!("is a checkpoint of another version ({error})")))?;
    crate::model::check_words(path, &file.metadata, corpus)?;
    saved.position.restore_best(&saved.recipe);
    check_same(path, &saved, model.config(), recipe, compression)?;
    if let Some(identity) = &saved.identity {
        identity.check(path, corpus)?;
        if compression.is_some() {
            identity.check_start(path, &Identity::new(model, recipe, corpus, compression)?)?;
        }
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
    let optimizer = Optimizer::restored(model, &saved.optimizer, &|name, like| {
        take(format!("{OPTIMIZER}.{name}"), like)
    })?
    .ok_or_else(|| damaged(format!("has an optimizer '{}'", saved.optimizer)))?;
    let state = model
        .zero_state(recipe.batch as i64)?
        .named(&|name, like| Ok(take(format!("state.{name}"), Some(like))?.f_to_kind(kind)?))?;
    let losses = take("losses".into(), None)?.f_to_kind(Kind::Double)?.f_view(-1)?;
    let stored = |name: String| {
        let tensor = file.tensors.get(&format!("{COMPRESSION}.{name}"));
        tensor.map(|tensor| Ok(tensor.f_to_device(device)?)).transpose()
    };
    let compression = match compression {
        Some(settings) => Some(Compression::restored(settings, model, &stored)?),
        None => None,
    };
    let (position, identity, losses) = (saved.position, saved.identity, Vec::try_from(losses)?);
    Ok(Restored { position, optimizer, state, losses, identity, compression })
}

fn check_same(
    path: &Path,
    saved: &Metadata,
    model: &LmConfig,
    recipe: &Recipe,
    compression: Option<&Gradual>,
) -> Result<()> {
    let first = difference((&saved.model, &saved.recipe), (model, recipe)).or_else(|| {
        compression_difference(saved.compression.as_ref(), compression, (&saved.recipe, recipe))
    });
    match first {
        None => Ok(()),
        Some((field, theirs, ours)) => Err(Error::mismatch(
            "`.resume(true)`",
            format!("the run of {} has {field} {theirs}, but this call has {ours}", path.display()),
            match compression {
                None => {
                    "use the settings of that run (only recipe.epochs and recipe.steps may change), or start a \
                     new run in another folder"
                }
                Some(_) => "use the settings of that run, or start a new run in another folder",
            },
        )),
    }
}

/// The first setting in which two runs differ in what they compress. Zeros come by the length of a run, so that it
/// must not change either.
pub(super) fn compression_difference(
    saved: Option<&Gradual>,
    asked: Option<&Gradual>,
    (saved_recipe, recipe): (&Recipe, &Recipe),
) -> Option<(String, String, String)> {
    let text = |gradual: Option<&Gradual>| {
        gradual.map_or("none".to_owned(), |gradual| json!(gradual).to_string())
    };
    if let (Some(saved), Some(asked)) = (saved, asked) {
        return first_difference_of(&saved.plan, &asked.plan)
            .or_else(|| first_difference_of(saved, asked))
            .or_else(|| first_difference_of(saved_recipe, recipe));
    }
    (saved != asked).then(|| ("compression".into(), text(saved), text(asked)))
}

/// The first setting in which two runs differ: its name in JSON and both values. Epochs and steps do not
/// count.
pub(super) fn difference(
    (model, recipe): (&LmConfig, &Recipe),
    (other_model, other_recipe): (&LmConfig, &Recipe),
) -> Option<(String, String, String)> {
    let comparable = |recipe: &Recipe| Recipe { epochs: 1, steps: None, ..recipe.clone() };
    first_difference((model, &comparable(recipe)), (other_model, &comparable(other_recipe)))
}

/// As [`difference`], but epochs and steps count.
pub(super) fn first_difference(
    (model, recipe): (&LmConfig, &Recipe),
    (other_model, other_recipe): (&LmConfig, &Recipe),
) -> Option<(String, String, String)> {
    first_difference_of(model, other_model).or_else(|| first_difference_of(recipe, other_recipe))
}

/// The first field in which two values differ: its name in JSON and both values.
fn first_difference_of(a: &impl Serialize, b: &impl Serialize) -> Option<(String, String, String)> {
    let (a, b) = (serde_json::to_value(a).ok()?, serde_json::to_value(b).ok()?);
    let (a, b) = (a.as_object()?, b.as_object()?);
    // Some fields are left out where they are not set.
    let text = |value: Option<&Value>| value.map_or("none".to_owned(), Value::to_string);
    a.keys().chain(b.keys()).find_map(|field| {
        let (value, other) = (a.get(field), b.get(field));
        (value != other).then(|| (field.clone(), text(value), text(other)))
    })
}
