//! A compressed model: its stored tensors, and the model on exactly their numbers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::plan::{Plan, TensorPlan};
use super::tensor_report::{TensorReport, describe};
use crate::data::{Corpus, Split};
use crate::evaluate::neural_cache::NeuralCache;
use crate::files::run_folder::{WEIGHTS, WORDS};
use crate::model::{
    ACTIVATION_STEPS, Activations, CACHE, CompressedMetadata, QrnnLm, SavedModel, check_vocabulary,
    model_of, stored_cache, words_checksum,
};
use crate::packed::{PackedFile, PackedTensor, StoredTensor};
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// Tokens of the validation text over which the largest activations are measured.
const OBSERVED_TOKENS: usize = 4096;

/// How much larger than the observed ones activations may be before they are clamped.
const HEADROOM: f64 = 1.1;

/// A compressed language model.
///
/// The weights of [`CompressedLm::model`] are decoded from the stored tensors, so what is evaluated is what is counted.
#[derive(Debug)]
pub struct CompressedLm {
    model: QrnnLm,
    file: Arc<PackedFile>,
    metadata: CompressedMetadata,
}

impl CompressedLm {
    /// Compresses a trained model in one shot: keeps the largest weights of each tensor, rounds them, and rounds the
    /// inputs of products if the plan says so. Nothing is trained.
    ///
    /// * `corpus`: that of the model; the ranges of activations are those of its validation text.
    ///
    /// # Errors
    /// [`Error::Config`] if the plan does not fit the model; [`Error::Mismatch`] if the model is compressed already;
    /// [`Error::NotFinite`] if a weight is not finite.
    pub fn one_shot(model: &QrnnLm, corpus: &Corpus, plan: &Plan) -> Result<Self> {
        if model.packed().is_some() {
            return Err(Error::mismatch(
                "the model",
                "is compressed already: its weights are rounded",
                "compress the model that it was made of",
            ));
        }
        check_vocabulary(model, corpus)?;
        model.check_finite()?;
        let mut tensors = BTreeMap::new();
        let parameters = model.parameters();
        for ((name, parameter), plan) in parameters.iter().zip(plan.of_model(model)?) {
            tensors.insert(name.clone(), stored(parameter, &plan)?);
        }
        let mut compressed = Self::new(model, corpus, plan, tensors)?;
        compressed.round_activations(corpus)?;
        Ok(compressed)
    }

    /// Puts a model together from stored tensors.
    ///
    /// # Errors
    /// [`Error::BadFile`] if they are not those of the model.
    pub(crate) fn new(
        model: &QrnnLm,
        corpus: &Corpus,
        plan: &Plan,
        tensors: BTreeMap<String, StoredTensor>,
    ) -> Result<Self> {
        let metadata = CompressedMetadata {
            model: model.config().clone(),
            corpus: corpus.name().to_owned(),
            ids: corpus.ids(),
            vocabulary: Some(words_checksum(corpus.vocab())),
            plan: serde_json::to_value(plan).map_err(encoding)?,
            activation_bits: None,
            shares: cluster_shares(model, corpus),
            cache: None,
        };
        let entries = metadata.entries().map_err(encoding)?;
        let file = Arc::new(PackedFile { tensors, metadata: entries });
        let vocab = Some(corpus.shared_vocab());
        let path = Path::new("the compressed model");
        let model = model_of(path, file.clone(), &metadata, vocab, model.options().1)?;
        Ok(Self { model, file, metadata })
    }

    /// Rounds the inputs of products if the plan says so: to grids that cover their ranges over the validation text.
    ///
    /// # Errors
    /// [`Error::Ops`] if memory runs out.
    pub(crate) fn round_activations(&mut self, corpus: &Corpus) -> Result<Option<&Activations>> {
        let plan: Plan = serde_json::from_value(self.metadata.plan.clone()).map_err(encoding)?;
        let Some(bits) = plan.activations() else { return Ok(None) };
        let activations = Activations::covering(bits, &observed(&mut self.model, corpus)?);
        let steps = activations.steps.clone();
        self.metadata.activation_bits = Some(bits);
        let file = Arc::make_mut(&mut self.file);
        let shape = vec![steps.len()];
        file.tensors.insert(ACTIVATION_STEPS.into(), StoredTensor::Float { shape, values: steps });
        file.metadata.extend(self.metadata.entries().map_err(encoding)?);
        self.model.round_inputs(activations);
        Ok(self.model.activations())
    }

    /// Opens a compressed model: its file, or the folder that `reproduce compress` wrote.
    ///
    /// # Errors
    /// As [`SavedModel::open`] and [`SavedModel::model`]; [`Error::Mismatch`] if the model is not compressed.
    pub fn open(path: impl AsRef<Path>, device: Device) -> Result<Self> {
        Self::of(SavedModel::open(path)?, device)
    }

    /// The compressed model of an opened file.
    ///
    /// # Errors
    /// As [`CompressedLm::open`].
    pub fn of(saved: SavedModel, device: Device) -> Result<Self> {
        let Some((file, metadata)) = saved.compressed() else {
            return Err(Error::mismatch(
                saved.path().display().to_string(),
                "is not a compressed model",
                "open it with `QrnnLm::open`, or compress it",
            ));
        };
        let (file, metadata) = (file.clone(), metadata.clone());
        Ok(Self { model: saved.model(None, device)?, file, metadata })
    }

    /// Writes model.safetensors and vocabulary.txt into a folder, which is created if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        if let Some(vocab) = self.model.vocab() {
            let words: String = vocab.iter().flat_map(|word| [word, "\n"]).collect();
            let path = folder.join(WORDS);
            atomic_file::write(&path, words.as_bytes()).map_err(Error::io(&path, "write"))?;
        }
        self.file.write(&folder.join(WEIGHTS))
    }

    /// Stores a neural cache with the model, which evaluations then use. Its λ and θ are rounded to single precision.
    pub fn set_cache(&mut self, cache: &NeuralCache) -> Result<()> {
        let file = Arc::make_mut(&mut self.file);
        for (name, value) in CACHE.into_iter().zip([cache.lambda, cache.theta]) {
            let (shape, values) = (vec![1], vec![value as f32]);
            file.tensors.insert(name.into(), StoredTensor::Float { shape, values });
        }
        self.metadata.cache = Some(cache.size);
        file.metadata.extend(self.metadata.entries().map_err(encoding)?);
        Ok(())
    }

    /// States how many tokens of a test text are in each cluster.
    pub(super) fn set_shares(&mut self, shares: Vec<u64>) -> Result<()> {
        self.metadata.shares = Some(shares);
        let entries = self.metadata.entries().map_err(encoding)?;
        Arc::make_mut(&mut self.file).metadata.extend(entries);
        Ok(())
    }

    /// Removes the neural cache, if there is one.
    pub(crate) fn remove_cache(&mut self) {
        let file = Arc::make_mut(&mut self.file);
        for name in CACHE {
            file.tensors.remove(name);
        }
        file.metadata.remove("cache");
        self.metadata.cache = None;
    }

    /// The neural cache that is stored with the model.
    ///
    /// # Errors
    /// [`Error::Config`] if its settings are out of their ranges.
    pub fn cache(&self) -> Result<Option<NeuralCache>> {
        cache_of(&self.file, &self.metadata)
    }

    /// Names the run that the model is of, in its file.
    pub(crate) fn set_metadata(&mut self, key: &str, value: &str) {
        Arc::make_mut(&mut self.file).metadata.insert(key.into(), value.into());
    }

    /// The model, on the stored numbers.
    pub fn model(&self) -> &QrnnLm {
        &self.model
    }

    /// The model alone.
    pub fn into_model(self) -> QrnnLm {
        self.model
    }

    /// The stored tensors.
    pub fn file(&self) -> &PackedFile {
        &self.file
    }

    /// What the file says about the model.
    pub(crate) fn metadata(&self) -> &CompressedMetadata {
        &self.metadata
    }

    /// Each stored tensor.
    pub fn tensors(&self) -> Vec<TensorReport> {
        TensorReport::of_file(&self.file)
    }
}

/// The neural cache that a compressed file stores; `None` for another file.
///
/// # Errors
/// [`Error::Config`] if its settings are out of their ranges.
pub fn stored_cache_of(saved: &SavedModel) -> Result<Option<NeuralCache>> {
    saved.compressed().map_or(Ok(None), |(file, metadata)| cache_of(file, metadata))
}

fn cache_of(file: &PackedFile, metadata: &CompressedMetadata) -> Result<Option<NeuralCache>> {
    let settings = metadata.cache.zip(stored_cache(file));
    let cache = settings
        .map(|(size, [lambda, theta])| NeuralCache::new(size, f64::from(lambda), f64::from(theta)));
    cache.transpose()
}

impl AsRef<QrnnLm> for CompressedLm {
    fn as_ref(&self) -> &QrnnLm {
        &self.model
    }
}

impl std::fmt::Display for CompressedLm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&describe(&self.file))
    }
}

/// A copy of a model without the weights that a plan prunes in one shot.
///
/// # Errors
/// [`Error::Config`] if the plan does not fit the model.
pub fn pruned(model: &QrnnLm, plan: &Plan) -> Result<QrnnLm> {
    let mut plans = plan.of_model(model)?.into_iter();
    model.with_parameters(None, |parameter| match plans.next() {
        Some(plan) if plan.zeros > 0.0 => {
            let _no_grad = tch::no_grad_guard();
            let kept: Vec<bool> = plan.kept(&values(parameter)?, plan.zeros);
            let kept = Tensor::f_from_slice(&kept)?.f_view(&parameter.size()[..])?;
            Ok(parameter.f_mul(&kept.f_to_device(parameter.device())?)?)
        }
        _ => Ok(parameter.shallow_clone()),
    })
}

/// A parameter as it is stored.
fn stored(parameter: &Tensor, plan: &TensorPlan) -> Result<StoredTensor> {
    let flat =
        tch::no_grad(|| parameter.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_reshape(-1))?;
    let mut values = Vec::<f32>::try_from(flat)?;
    if plan.zeros > 0.0 {
        let kept = plan.kept(&values, plan.zeros);
        values.iter_mut().zip(kept).filter(|(_, kept)| !kept).for_each(|(value, _)| *value = 0.0);
    }
    Ok(match plan.encoding {
        Some(encoding) => {
            StoredTensor::Packed(PackedTensor::encode(&plan.shape, &values, encoding))
        }
        None => StoredTensor::Float { shape: plan.shape.clone(), values },
    })
}

/// The values of a tensor, row by row.
pub(crate) fn values(parameter: &Tensor) -> Result<Vec<f32>> {
    let _no_grad = tch::no_grad_guard();
    let flat = parameter.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_reshape(-1)?;
    Ok(Vec::try_from(flat)?)
}

/// The largest inputs of all products over the beginning of the validation text, with some headroom.
fn observed(model: &mut QrnnLm, corpus: &Corpus) -> Result<Vec<f64>> {
    let ids = corpus.tokens(Split::Valid);
    let ids: Vec<i64> = ids.iter().take(OBSERVED_TOKENS).map(|&id| i64::from(id)).collect();
    let tokens = Tensor::f_from_slice(&ids)?.f_unsqueeze(1)?.f_to_device(model.options().1)?;
    let mut largest = model.largest_inputs(&tokens)?;
    // Outputs of a layer are products of a sigmoid and a mean of tanh values, below 1.
    for (product, largest) in largest.iter_mut().enumerate() {
        let bound = if (1..=model.config().layers).contains(&product) { 0.99 } else { f64::MAX };
        *largest = (*largest * HEADROOM).min(bound);
    }
    Ok(largest)
}

/// Tokens of the test text in each cluster of an adaptive model; `None` if there is no text.
fn cluster_shares(model: &QrnnLm, corpus: &Corpus) -> Option<Vec<u64>> {
    model.config().widths.as_ref().filter(|_| !corpus.tokens(Split::Test).is_empty())?;
    let borders = model.config().splits.borders(model.config().vocab).unwrap_or_default();
    let mut shares = vec![0; borders.len() + 1];
    for &id in corpus.tokens(Split::Test) {
        shares[borders.partition_point(|&border| border <= id as usize)] += 1;
    }
    Some(shares)
}

fn encoding(error: serde_json::Error) -> Error {
    Error::io("the compressed model", "write")(error.into())
}
