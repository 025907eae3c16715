//! The tensors of weight files, under the original's names.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Kind, Tensor};

use super::config::LmConfig;
use crate::{Error, Result};

const REMEDY: &str =
    "give a model.safetensors that `reproduce train` or Python's safetensors wrote";

/// Named tensors as they lie in a weight file, in single precision on the CPU.
pub(super) type Named = BTreeMap<String, Tensor>;

/// A file's tensors under the names that a model has for them: the original's weight-drop names
/// become plain ones, and a decoder's weight that is the embedding's, as the two are tied, is left out.
///
/// # Errors
/// [`Error::BadFile`] where a tensor would be dropped that says something of its own.
pub(super) fn of_this_model(path: &Path, tensors: BTreeMap<String, Tensor>) -> Result<Named> {
    let mut named = Named::new();
    let mut from = BTreeMap::new();
    for (name, tensor) in tensors {
        let (plain, tensor) = (plain_name(&name), tensor.f_to_kind(Kind::Float)?);
        if let Some(other) = from.insert(plain.clone(), name.clone())
            && named.get(&plain).is_none_or(|before| !same(before, &tensor))
        {
            return Err(Error::bad_file(
                path,
                format!("holds both {other} and {name}, which differ and are the same parameter"),
                "take the one out that the model was not evaluated with",
            ));
        }
        named.insert(plain, tensor);
    }
    let tied = named.remove("decoder.weight");
    if let (Some(decoder), Some(encoder)) = (tied, named.get("encoder.weight"))
        && !same(&decoder, encoder)
    {
        return Err(Error::bad_file(
            path,
            "holds a decoder.weight that differs from encoder.weight: the two are one here",
            "give a model that was trained with tied weights (the original's --tied, its default)",
        ));
    }
    Ok(named)
}

/// Whether two tensors hold the same numbers. What is no number equals itself here.
fn same(a: &Tensor, b: &Tensor) -> bool {
    let bits = |tensor: &Tensor| tensor.f_contiguous()?.f_view_dtype(Kind::Int);
    a.size() == b.size()
        && matches!((bits(a), bits(b)), (Ok(a), Ok(b)) if a.f_equal(&b).unwrap_or(false))
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

/// Whether a file's tensors are those of a model.
///
/// # Errors
/// [`Error::BadFile`] naming the first tensor that is missing, surplus or of another shape.
pub(super) fn check(path: &Path, named: &Named, model: &[(String, &Tensor)]) -> Result<()> {
    for (name, tensor) in model {
        let problem = match named.get(name) {
            None => format!("has no tensor {name} of shape {:?}", tensor.size()),
            Some(found) if found.size() != tensor.size() => {
                format!("{name} has shape {:?}, the model wants {:?}", found.size(), tensor.size())
            }
            Some(_) => continue,
        };
        return Err(Error::bad_file(path, problem, shape_remedy(name)));
    }
    match named.keys().find(|name| model.iter().all(|(own, _)| own != *name)) {
        None => Ok(()),
        Some(name) => Err(Error::bad_file(
            path,
            format!("holds a tensor {name} that the model does not have"),
            shape_remedy(name),
        )),
    }
}

/// Copies a file's tensors, which [`check`] has seen, into a model's.
///
/// # Errors
/// [`Error::Ops`] where memory runs out.
pub(super) fn assign(mut named: Named, model: &[(String, &Tensor)]) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    for (name, tensor) in model {
        if let Some(found) = named.remove(name) {
            tensor.shallow_clone().f_copy_(&found)?;
        }
    }
    Ok(())
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
