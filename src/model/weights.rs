//! The tensors of weight files, with the names of awd-lstm-lm.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Kind, Tensor};

use super::config::LmConfig;
use super::splits::Splits;
use super::widths;
use crate::{Error, Result};

const REMEDY: &str =
    "give a model.safetensors written by `reproduce train` or Python's safetensors";

/// The tensors of a weight file by name, in single precision on the CPU.
pub(super) type NamedTensors = BTreeMap<String, Tensor>;

/// Converts tensor names to those of a model: weight-drop names become plain names, and the decoder's
/// weight is removed, as it is tied to the embedding.
///
/// # Errors
/// [`Error::BadFile`] if a tensor to be removed differs from the one that is kept, or holds bytes.
pub(super) fn with_model_names(
    path: &Path,
    tensors: BTreeMap<String, Tensor>,
) -> Result<NamedTensors> {
    let mut file_tensors = NamedTensors::new();
    let mut file_names = BTreeMap::new();
    for (name, tensor) in tensors {
        if tensor.kind() == Kind::Uint8 {
            let problem = format!("tensor {name} holds U8, not floating-point numbers");
            return Err(Error::bad_file(path, problem, REMEDY));
        }
        let (model_name, tensor) = (to_model_name(&name), tensor.f_to_kind(Kind::Float)?);
        if let Some(other_name) = file_names.insert(model_name.clone(), name.clone())
            && file_tensors.get(&model_name).is_none_or(|other| !bitwise_equal(other, &tensor))
        {
            return Err(Error::bad_file(
                path,
                format!(
                    "holds both {other_name} and {name}, different values of the same parameter"
                ),
                "remove the one that the model was not evaluated with",
            ));
        }
        file_tensors.insert(model_name, tensor);
    }
    let tied = file_tensors.remove("decoder.weight");
    if let (Some(decoder), Some(encoder)) = (tied, file_tensors.get("encoder.weight"))
        && !bitwise_equal(&decoder, encoder)
    {
        return Err(Error::bad_file(
            path,
            "holds a decoder.weight that differs from encoder.weight, but this model ties them",
            "use a model trained with tied weights (--tied of awd-lstm-lm, its default)",
        ));
    }
    Ok(file_tensors)
}

/// Whether two tensors are bitwise equal, so that NaN equals itself.
fn bitwise_equal(a: &Tensor, b: &Tensor) -> bool {
    let bits = |tensor: &Tensor| tensor.f_contiguous()?.f_view_dtype(Kind::Int);
    a.size() == b.size()
        && matches!((bits(a), bits(b)), (Ok(a), Ok(b)) if a.f_equal(&b).unwrap_or(false))
}

/// Converts the name of a parameter with weight drop, such as `rnns.0.linear.module.weight_raw`, to
/// `rnns.0.linear.weight`.
fn to_model_name(name: &str) -> String {
    name.replace(".linear.module.weight_raw", ".linear.weight")
        .replace(".linear.module.bias", ".linear.bias")
}

/// The name of the embedding, or of that of a cluster.
fn encoder(cluster: Option<usize>) -> String {
    cluster.map_or("encoder.weight".to_owned(), |k| format!("encoder.{k}.weight"))
}

/// Whether a file holds an adaptive embedding: one for each cluster.
pub(super) fn is_adaptive(file_tensors: &NamedTensors) -> bool {
    file_tensors.contains_key(&encoder(Some(0)))
}

/// Infers the sizes from a file's tensors. Dropouts are 0; the splits are automatic, or those of an adaptive embedding.
///
/// # Errors
/// [`Error::BadFile`] if a tensor is missing or the shapes are not those of a QRNN.
pub(super) fn sizes(path: &Path, file_tensors: &NamedTensors) -> Result<LmConfig> {
    let size2 = |name: &str| match file_tensors.get(name).map(Tensor::size).as_deref() {
        Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok((rows as usize, columns as usize)),
        Some(other) => Err(Error::bad_file(
            path,
            format!("{name} has shape {other:?}, not two dimensions"),
            REMEDY,
        )),
        None => Err(Error::bad_file(path, format!("has no tensor {name}"), REMEDY)),
    };
    let linear = |i: usize| format!("rnns.{i}.linear.weight");
    let nlayers = (0..).take_while(|i| file_tensors.contains_key(&linear(*i))).count();
    let config = |emsize: usize, vocab: usize| -> Result<LmConfig> {
        let (rows, _) = size2(&linear(0))?;
        Ok(LmConfig::paper(emsize, rows / 3)
            .vocab(vocab)
            .layers(nlayers)
            .locked_dropouts(0.0, 0.0, 0.0))
    };
    if !is_adaptive(file_tensors) {
        let (vocab, emsize) = size2(&encoder(None))?;
        return config(emsize, vocab);
    }
    let clusters = (0..).take_while(|k| file_tensors.contains_key(&encoder(Some(*k))));
    let shapes = clusters.map(|k| size2(&encoder(Some(k)))).collect::<Result<Vec<_>>>()?;
    // The last layer is as wide as the embedding.
    let (rows, _) = size2(&linear(nlayers.saturating_sub(1)))?;
    let widths: Vec<usize> = shapes.iter().map(|(_, width)| *width).collect();
    let mut vocab = 0;
    let mut borders = vec![];
    for (size, _) in &shapes {
        borders.push(vocab);
        vocab += size;
    }
    borders.remove(0);
    let splits = if borders.is_empty() { Splits::None } else { Splits::At(borders) };
    Ok(config(rows / 3, vocab)?.splits(splits).widths(widths))
}

/// Checks that a file has the sizes of a model, except the vocabulary's.
///
/// # Errors
/// [`Error::BadFile`] with both values of the first size that differs.
pub(super) fn check_sizes(path: &Path, file: &LmConfig, model: &LmConfig) -> Result<()> {
    if file.widths != model.widths {
        let text = |config: &LmConfig| config.widths.as_deref().map_or("none".into(), widths::list);
        let remedy = match &file.widths {
            None => "leave out config.widths, or name another file".to_owned(),
            Some(widths) => {
                format!("use `config.widths {}`, or name another file", widths::list(widths))
            }
        };
        let (theirs, ours) = (text(file), text(model));
        let problem = format!("holds a model of config.widths {theirs}, but this call has {ours}");
        return Err(Error::bad_file(path, problem, remedy));
    }
    // A single layer has no hidden width.
    let nhid = if file.layers == 1 { model.nhid } else { file.nhid };
    let sizes = [
        ("config.emsize", file.emsize, model.emsize),
        ("config.layers", file.layers, model.layers),
        ("config.nhid", nhid, model.nhid),
    ];
    match sizes.into_iter().find(|(_, file_size, size)| file_size != size) {
        None => Ok(()),
        Some((field, file_size, size)) => Err(Error::bad_file(
            path,
            format!("holds a model of {field} {file_size}, but this call has {size}"),
            format!("use `{field} {file_size}`, or name another file"),
        )),
    }
}

/// Checks that a file's tensors are those of a model.
///
/// # Errors
/// [`Error::BadFile`] naming the first tensor that is missing, unexpected or of another shape.
pub(super) fn check(
    path: &Path,
    file_tensors: &NamedTensors,
    model: &[(String, &Tensor)],
) -> Result<()> {
    for (name, tensor) in model {
        let problem = match file_tensors.get(name) {
            None => format!("has no tensor {name} of shape {:?}", tensor.size()),
            Some(file_tensor) if file_tensor.size() != tensor.size() => {
                format!(
                    "{name} has shape {:?}, but the model has {:?}",
                    file_tensor.size(),
                    tensor.size()
                )
            }
            Some(_) => continue,
        };
        return Err(Error::bad_file(path, problem, shape_remedy(name)));
    }
    match file_tensors.keys().find(|name| model.iter().all(|(parameter, _)| parameter != *name)) {
        None => Ok(()),
        Some(name) => Err(Error::bad_file(
            path,
            format!("holds a tensor {name} that the model does not have"),
            shape_remedy(name),
        )),
    }
}

/// Copies a file's tensors into a model, after [`check`].
///
/// # Errors
/// [`Error::Ops`] if memory runs out.
pub(super) fn assign(mut file_tensors: NamedTensors, model: &[(String, &Tensor)]) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    for (name, tensor) in model {
        if let Some(file_tensor) = file_tensors.remove(name) {
            tensor.shallow_clone().f_copy_(&file_tensor)?;
        }
    }
    Ok(())
}

fn shape_remedy(name: &str) -> &'static str {
    if name.starts_with("criterion.") {
        "use the config.splits that the model was trained with"
    } else if name.starts_with("encoder.") || name.starts_with("decoder.") {
        "use the corpus that the model was trained on: the vocabularies must be equal"
    } else {
        "give the file of a complete model of this kind"
    }
}
