//! Weight files: safetensors under the original's names.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use tch::{Kind, Tensor};

use super::config::LmConfig;
use crate::{Error, Result, tensor_file};

const REMEDY: &str =
    "give a model.safetensors that `reproduce train` or Python's safetensors wrote";

/// Named tensors as they lie in a weight file, in single precision on the CPU.
pub(super) type Named = BTreeMap<String, Tensor>;

/// Writes weights whole or not at all.
///
/// # Errors
/// [`Error::Io`] where the disk is full or the folder unwritable; an older file then stays.
pub(super) fn write(path: &Path, tensors: &[(String, &Tensor)]) -> Result<()> {
    tensor_file::write(path, tensors, HashMap::new())
}

/// Reads a weight file; the original's weight-drop names become plain ones, and the decoder's
/// weight, tied to the embedding, is left out.
///
/// # Errors
/// As [`tensor_file::read`].
pub(super) fn read(path: &Path) -> Result<Named> {
    let file = tensor_file::read(path, REMEDY)?;
    file.tensors
        .into_iter()
        .filter(|(name, _)| name != "decoder.weight")
        .map(|(name, tensor)| Ok((plain_name(&name), tensor.f_to_kind(Kind::Float)?)))
        .collect()
}

/// `rnns.0.linear.module.weight_raw`, as weight drop wraps it, is `rnns.0.linear.weight`.
fn plain_name(name: &str) -> String {
    name.replace(".linear.module.weight_raw", ".linear.weight")
        .replace(".linear.module.bias", ".linear.bias")
}

/// The sizes that a file's tensors tell; dropouts are 0 and the splits automatic.
///
/// # Errors
/// [`Error::BadFile`] where a tensor is missing or the shapes are not those of a QRNN.
pub(super) fn sizes(path: &Path, named: &Named) -> Result<LmConfig> {
    let size2 = |name: &str| match named.get(name).map(Tensor::size).as_deref() {
        Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok((rows as usize, columns as usize)),
        Some(other) => {
            Err(Error::bad_file(path, format!("{name} has shape {other:?}, not two sizes"), REMEDY))
        }
        None => Err(Error::bad_file(path, format!("has no tensor {name}"), REMEDY)),
    };
    let (vocab, emsize) = size2("encoder.weight")?;
    let nlayers =
        (0..).take_while(|i| named.contains_key(&format!("rnns.{i}.linear.weight"))).count();
    let (rows, _) = size2("rnns.0.linear.weight")?;
    Ok(LmConfig::paper(emsize, rows / 3)
        .vocab(vocab)
        .layers(nlayers)
        .locked_dropouts(0.0, 0.0, 0.0))
}

/// Copies a file's tensors into a model's.
///
/// # Errors
/// [`Error::BadFile`] naming the first tensor that is missing, surplus or of another shape.
pub(super) fn assign(path: &Path, mut named: Named, model: &[(String, &Tensor)]) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    for (name, tensor) in model {
        let Some(found) = named.remove(name) else {
            let problem = format!("has no tensor {name} of shape {:?}", tensor.size());
            return Err(Error::bad_file(path, problem, shape_remedy(name)));
        };
        if found.size() != tensor.size() {
            let problem =
                format!("{name} has shape {:?}, the model wants {:?}", found.size(), tensor.size());
            return Err(Error::bad_file(path, problem, shape_remedy(name)));
        }
        tensor.shallow_clone().f_copy_(&found)?;
    }
    match named.keys().next() {
        None => Ok(()),
        Some(name) => Err(Error::bad_file(
            path,
            format!("holds a tensor {name} that the model does not have"),
            shape_remedy(name),
        )),
    }
}

fn shape_remedy(name: &str) -> &'static str {
    if name.starts_with("criterion.") {
        "give the --splits that the model was trained with"
    } else if name.starts_with("encoder.") || name.starts_with("decoder.") {
        "give the --data that the model was trained on: its vocabulary must be the same"
    } else {
        "in training, give the sizes (--emsize, --nhid, --nlayers) that the file was written with; \
         elsewhere they are read off the file, which must be a whole model of this kind"
    }
}
