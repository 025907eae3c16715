//! Models of compressed files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use super::activations::{Activations, InputRounding};
use super::config::LmConfig;
use super::lm::{DEFAULT_SEED, QrnnLm};
use super::weights;
use crate::data::{IdOrder, Vocab};
use crate::files::run_folder::WORDS;
use crate::packed::{PackedFile, StoredTensor};
use crate::{Error, Result};

/// The steps of the activations' grids, in the order of [`Activations::steps`].
pub(crate) const ACTIVATION_STEPS: &str = "activations.scale";

/// Weight λ and factor θ of the neural cache.
pub(crate) const CACHE: [&str; 2] = ["cache.lambda", "cache.theta"];

const REMEDY: &str = "write it again with `reproduce compress`";

/// The metadata of a compressed file, besides what describes its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CompressedMetadata {
    pub model: LmConfig,
    /// The name of the corpus that it was trained on.
    pub corpus: String,
    /// The order of the ids.
    #[serde(default)]
    pub ids: IdOrder,
    /// Checksum of the words in the order of their ids.
    pub vocabulary: Option<String>,
    /// The plan that the model was compressed by.
    pub plan: Value,
    /// Bits of the inputs of products; `None` if they are not rounded.
    pub activation_bits: Option<u32>,
    /// Tokens of the test text in each cluster, which pass through the cluster's input projection.
    pub shares: Option<Vec<u64>>,
    /// Tokens of the neural cache.
    pub cache: Option<usize>,
}

impl CompressedMetadata {
    /// As entries of a file, each a string of JSON.
    pub fn entries(&self) -> serde_json::Result<BTreeMap<String, String>> {
        let Value::Object(fields) = serde_json::to_value(self)? else { return Ok(BTreeMap::new()) };
        let present = fields.into_iter().filter(|(_, value)| !value.is_null());
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(present.map(|(name, value)| (name, text(value))).collect())
    }

    /// # Errors
    /// [`Error::BadFile`] naming the entry that is missing or invalid.
    pub fn of(path: &Path, file: &PackedFile) -> Result<Self> {
        let damaged = |problem: String| Error::bad_file(path, problem, REMEDY);
        let entry = |name: &str| -> Result<Value> {
            match file.metadata.get(name) {
                None => Ok(Value::Null),
                Some(text) if ["corpus", "ids", "vocabulary"].contains(&name) => {
                    Ok(text.clone().into())
                }
                Some(text) => serde_json::from_str(text).map_err(|error| {
                    damaged(format!("its metadata entry {name} cannot be read ({error})"))
                }),
            }
        };
        let names =
            ["model", "corpus", "ids", "vocabulary", "plan", "activation_bits", "shares", "cache"];
        let fields: serde_json::Map<String, Value> = names
            .into_iter()
            .map(|name| Ok((name.to_owned(), entry(name)?)))
            .filter(|field| !matches!(field, Ok((name, Value::Null)) if name == "ids"))
            .collect::<Result<_>>()?;
        let metadata: Self = serde_json::from_value(Value::Object(fields))
            .map_err(|error| damaged(format!("its metadata are not those of a model ({error})")))?;
        metadata
            .model
            .check()
            .map_err(|error| damaged(format!("its model is invalid: {error}")))?;
        Ok(metadata)
    }
}

/// The checksum of a vocabulary, as compressed files state it.
pub(crate) fn words_checksum(vocab: &Vocab) -> String {
    format!("{:016x}", vocab.checksum())
}

/// The words beside a compressed file; `None` if they are not there.
///
/// # Errors
/// [`Error::BadFile`] if they are not those of the model.
pub(super) fn words_beside(path: &Path, metadata: &CompressedMetadata) -> Result<Option<Vocab>> {
    let path = path.with_file_name(WORDS);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&path, "read")(error)),
    };
    let vocab = Vocab::from_joined(&text.lines().collect::<Vec<_>>().join(" "));
    let sum = vocab.as_ref().map(words_checksum);
    if vocab.is_none() || (metadata.vocabulary.is_some() && sum != metadata.vocabulary) {
        return Err(Error::bad_file(
            path,
            "does not hold the words of the compressed model beside it",
            "put the file there that `reproduce compress` wrote with the model, or none",
        ));
    }
    Ok(vocab)
}

/// The model of a compressed file, on exactly the numbers that it stores.
///
/// * `path`: named in errors.
///
/// # Errors
/// [`Error::BadFile`] if tensors are missing, unexpected or of another shape; [`Error::Unavailable`] if the device
/// is not available.
pub(crate) fn model_of(
    path: &Path,
    file: Arc<PackedFile>,
    metadata: &CompressedMetadata,
    vocab: Option<Arc<Vocab>>,
    device: Device,
) -> Result<QrnnLm> {
    let mut model = QrnnLm::seeded(&metadata.model, (Kind::Float, device), DEFAULT_SEED)?;
    let mut tensors = decoded(&file)?;
    let steps = tensors.remove(ACTIVATION_STEPS);
    for name in CACHE {
        tensors.remove(name);
    }
    weights::check(path, &tensors, &model.parameters())?;
    weights::assign(tensors, &model.parameters())?;
    model.input_rounding = match (metadata.activation_bits, steps) {
        (None, None) => InputRounding::Off,
        (Some(bits @ 2..=8), Some(steps)) => {
            let steps = Vec::try_from(steps)?;
            InputRounding::Rounded(Activations { bits, steps })
        }
        (bits, steps) => {
            let bits = bits.map_or("no bits of activations".into(), |bits| {
                format!("activations of {bits} bits")
            });
            let found = if steps.is_some() { "with" } else { "without" };
            let problem = format!("has {bits} {found} a tensor {ACTIVATION_STEPS}");
            return Err(Error::bad_file(path, problem, REMEDY));
        }
    };
    model.vocab = vocab;
    model.ids = Some(metadata.ids);
    model.packed = Some(file);
    Ok(model)
}

/// λ and θ of the neural cache that a file stores.
pub(crate) fn stored_cache(file: &PackedFile) -> Option<[f32; 2]> {
    let number = |name: &str| match file.tensors.get(name) {
        Some(StoredTensor::Float { values, .. }) => values.first().copied(),
        _ => None,
    };
    Some([number(CACHE[0])?, number(CACHE[1])?])
}

fn decoded(file: &PackedFile) -> Result<weights::NamedTensors> {
    let tensor = |(name, tensor): (&String, &StoredTensor)| {
        let shape: Vec<i64> = tensor.shape().iter().map(|&n| n as i64).collect();
        Ok((name.clone(), Tensor::f_from_slice(&tensor.decode())?.f_view(&shape[..])?))
    };
    file.tensors.iter().map(tensor).collect()
}
