//! Where a run begins: rank 0 reads the folder, and gives all processes what it has read.

use std::collections::HashMap;
use std::io::Write;

use qrnn_ops::process_group::ProcessGroup;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::DataParallel;
use super::exchange::{broadcast_tensors, broadcast_value};
use crate::compress::{CompressedLm, Gradual};
use crate::model::{QrnnLm, SavedModel};
use crate::train::checkpoint::Restored;
use crate::train::compression::Compression;
use crate::train::optimizer::Optimizer;
use crate::train::position::RunPosition;
use crate::train::recipe::Recipe;
use crate::train::run_start::RunStart;
use crate::train::training_loop::TrainingLoop;
use crate::{Error, Result};

/// What rank 0 tells about the start, besides tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Start {
    /// Whether rank 0 has a folder for checkpoints.
    saves: bool,
    /// The position of the checkpoint; `None` for a fresh run.
    position: Option<RunPosition>,
    /// The optimizer's name in checkpoints.
    optimizer: String,
}

/// What rank 0 tells about the best epoch of a resumed run.
#[derive(Debug, Serialize, Deserialize)]
struct Best {
    /// The bits of its validation loss, which may be infinite.
    loss: Option<u64>,
    /// Whether its weights follow.
    weights: bool,
    /// Whether its compressed file follows.
    file: bool,
}

impl DataParallel {
    /// Gives the weights and the start of rank 0 to all processes.
    ///
    /// * `start`: of rank 0; `None` on other ranks;
    /// * `saves`: whether rank 0 has a folder.
    ///
    /// # Errors
    /// [`Error::Ops`] if another process has ended or memory runs out.
    pub fn share_start(
        &mut self,
        start: Option<RunStart>,
        saves: bool,
        model: &mut QrnnLm,
        (recipe, compression): (&Recipe, Option<&Gradual>),
    ) -> Result<RunStart> {
        self.saves = saves;
        let start = match (self.group.clone(), start) {
            (None, start) => return Ok(start.unwrap_or(RunStart::Fresh)),
            (Some(group), Some(start)) => {
                send(&group, &start, saves, model)?;
                start
            }
            (Some(group), None) => {
                let (start, saves) = receive(&group, model, recipe, compression)?;
                self.saves = saves;
                start
            }
        };
        Ok(match start {
            RunStart::Fresh => RunStart::Fresh,
            RunStart::Resumed(restored) => {
                let state = self.own_state(&restored.state)?;
                RunStart::Resumed(Box::new(Restored { state, ..*restored }))
            }
        })
    }
}

fn send(group: &ProcessGroup, start: &RunStart, saves: bool, model: &QrnnLm) -> Result<()> {
    let mut tensors = prefixed("model", model.parameters());
    let (mut position, mut optimizer) = (None, String::new());
    if let RunStart::Resumed(restored) = start {
        position = Some(restored.position.clone());
        optimizer = restored.optimizer.name().to_owned();
        tensors.extend(prefixed("optimizer", restored.optimizer.tensors()?));
        tensors.extend(prefixed("state", restored.state.tensors()));
        if let Some(compression) = &restored.compression {
            tensors.extend(prefixed("compression", compression.tensors()?));
        }
        tensors.push(("losses".to_owned(), Tensor::f_from_slice(&restored.losses)?));
    }
    broadcast_value(group, Some(&Start { saves, position, optimizer }))?;
    broadcast_tensors(group, tensors).map(drop)
}

fn receive(
    group: &ProcessGroup,
    model: &mut QrnnLm,
    recipe: &Recipe,
    compression: Option<&Gradual>,
) -> Result<(RunStart, bool)> {
    let Start { saves, position, optimizer: name } = broadcast_value::<Start>(group, None)?;
    let tensors: HashMap<_, _> = broadcast_tensors(group, vec![])?.into_iter().collect();
    let device = model.options().1;
    let find = |name: String| -> Result<Option<Tensor>> {
        Ok(tensors.get(&name).map(|tensor| tensor.f_to_device(device)).transpose()?)
    };
    let take = |name: String| find(name.clone())?.ok_or_else(|| missing(&name));
    let names: Vec<_> = model.parameters().into_iter().map(|(name, _)| name).collect();
    let weights = names.iter().map(|name| take(format!("model.{name}")));
    model.set_weights(&weights.collect::<Result<Vec<_>>>()?)?;
    let Some(mut position) = position else { return Ok((RunStart::Fresh, saves)) };
    position.restore_best(recipe);
    let of_optimizer = |name: String, _: Option<&Tensor>| take(format!("optimizer.{name}"));
    let optimizer = Optimizer::restored(model, &name, &of_optimizer)?;
    let optimizer = optimizer.ok_or_else(|| missing(&name))?;
    let state = model.zero_state(1)?.named(&|name, _| take(format!("state.{name}")))?;
    let losses = take("losses".to_owned())?.f_to_kind(Kind::Double)?;
    let compression = match compression {
        Some(settings) => {
            let stored = |name: String| find(format!("compression.{name}"));
            Some(Compression::restored(settings, model, &stored)?)
        }
        None => None,
    };
    let losses = Vec::try_from(losses)?;
    let restored = Restored { position, optimizer, state, losses, identity: None, compression };
    Ok((RunStart::Resumed(Box::new(restored)), saves))
}

impl TrainingLoop<'_> {
    /// Gives the best weights of a resumed run, which rank 0 has read, to all processes.
    ///
    /// # Errors
    /// [`Error::Ops`] if another process has ended; [`Error::Io`].
    pub(in crate::train) fn share_best(&mut self) -> Result<()> {
        let Some(group) = self.parallel.group().cloned() else { return Ok(()) };
        let compressed = self.compression.as_ref().is_some_and(|own| own.best.is_some());
        let best = Best {
            loss: self.position.best.map(f64::to_bits),
            weights: self.best.is_some(),
            file: compressed,
        };
        let best = broadcast_value(&group, self.parallel.is_main().then_some(&best))?;
        self.position.best = best.loss.map(f64::from_bits);
        if best.weights {
            let own = self.best.take().unwrap_or_default().into_iter();
            let tensors = own.map(|tensor| (String::new(), tensor)).collect();
            let device = self.model.options().1;
            let weights = broadcast_tensors(&group, tensors)?.into_iter();
            let weights = weights.map(|(_, tensor)| Ok(tensor.f_to_device(device)?));
            self.best = Some(weights.collect::<Result<_>>()?);
        }
        if best.file {
            let bytes = match self.folder.as_ref().map(|folder| folder.weights()) {
                Some(path) => std::fs::read(&path).map_err(Error::io(&path, "read"))?,
                None => vec![],
            };
            let bytes = group.broadcast_bytes(&bytes)?;
            if let (false, Some(compression)) = (self.parallel.is_main(), self.compression.as_mut())
            {
                compression.best = Some(compressed_model(&bytes, self.model)?);
            }
        }
        Ok(())
    }
}

/// The compressed model in these bytes of a file.
fn compressed_model(bytes: &[u8], model: &QrnnLm) -> Result<CompressedLm> {
    let mut file = tempfile::Builder::new()
        .suffix(".safetensors")
        .tempfile()
        .map_err(Error::io(std::env::temp_dir(), "create a file in"))?;
    file.write_all(bytes).map_err(Error::io(file.path(), "write"))?;
    CompressedLm::of(SavedModel::open(file.path())?, model.options().1)
}

fn prefixed(
    prefix: &str,
    tensors: Vec<(String, impl std::borrow::Borrow<Tensor>)>,
) -> Vec<(String, Tensor)> {
    let named = |(name, tensor): (String, _)| {
        (format!("{prefix}.{name}"), std::borrow::Borrow::<Tensor>::borrow(&tensor).shallow_clone())
    };
    tensors.into_iter().map(named).collect()
}

fn missing(name: &str) -> Error {
    Error::mismatch(
        "rank 0 of the group",
        format!("did not send {name}"),
        "start the same program on all machines",
    )
}
