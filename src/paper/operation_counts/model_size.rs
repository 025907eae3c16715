//! What a model stores: the sizes of its tensors, declared or read off a file.

use std::convert::Infallible;

use super::ledger::FULL_BITS;
use crate::compress::{Plan, known_shares};
use crate::model::{ACTIVATION_STEPS, CompressedMetadata, LayerShape, LmConfig, SavedModel};
use crate::packed::{Grid, PackedFile, ScalePer, StoredTensor, TensorSize};
use crate::{Error, Result};

/// A model as the rules count it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSize {
    pub clusters: Vec<ClusterSize>,
    pub layers: Vec<LayerSize>,
    /// (tails, E); `None` for a plain softmax.
    pub tombstones: Option<TensorSize>,
    pub decoder_bias: TensorSize,
    /// Embedding width E.
    pub emsize: u128,
    /// Words in each cluster.
    pub words: Vec<u128>,
    /// Bits of the inputs of products; `None` for floating point.
    pub activation_bits: Option<u32>,
    /// Number of stored scales of activations.
    pub activation_scales: u128,
    /// Bits of numbers in floating point.
    pub float_bits: u32,
    /// Tokens that a neural cache holds.
    pub cache: Option<usize>,
    /// Tokens of the test text in each cluster, which pass through the cluster's input projection.
    pub shares: Option<Vec<u64>>,
}

/// A cluster of the tied embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSize {
    /// (words, width).
    pub weight: TensorSize,
    /// (E, width); `None` if the width is E.
    pub projection: Option<TensorSize>,
}

/// Equal QRNN layers.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSize {
    /// (3 H, window × input).
    pub weight: TensorSize,
    /// Number of biases of one layer.
    pub biases: u128,
    /// Outputs H of one layer.
    pub output: u128,
}

impl ModelSize {
    /// A model of this configuration with these layers, some of which may be repeated; `size` gives the size of a tensor of this name and shape.
    ///
    /// # Errors
    /// Those of `size`.
    pub fn new<E>(
        config: &LmConfig,
        layers_of_config: Vec<(LayerShape, u128)>,
        float_bits: u32,
        mut size: impl FnMut(&str, &[usize]) -> Result<TensorSize, E>,
    ) -> Result<Self, E> {
        let borders = config.splits.borders(config.vocab).unwrap_or_default();
        let words = words_of(config, &borders);
        let clusters = match &config.widths {
            None => vec![ClusterSize {
                weight: size("encoder.weight", &[config.vocab, config.emsize])?,
                projection: None,
            }],
            Some(widths) => {
                let mut clusters = vec![];
                for (k, (&words, &width)) in words.iter().zip(widths).enumerate() {
                    let weight = size(&format!("encoder.{k}.weight"), &[words, width])?;
                    let projection = match width < config.emsize {
                        true => {
                            Some(size(&format!("projections.{k}.weight"), &[config.emsize, width])?)
                        }
                        false => None,
                    };
                    clusters.push(ClusterSize { weight, projection });
                }
                clusters
            }
        };
        let mut layers = vec![];
        for (i, (shape, times)) in layers_of_config.into_iter().enumerate() {
            layers.push(layer(i, shape, times, &mut size)?);
        }
        let tombstones = match borders.len() {
            0 => None,
            tails => Some(size("criterion.tail_vectors", &[tails, config.emsize])?),
        };
        Ok(Self {
            clusters,
            layers,
            tombstones,
            decoder_bias: size("decoder.bias", &[config.vocab])?,
            emsize: config.emsize as u128,
            words: words.into_iter().map(|words| words as u128).collect(),
            activation_bits: None,
            activation_scales: 0,
            float_bits,
            cache: None,
            shares: known_shares(config),
        })
    }

    /// A model as it will be stored once it is compressed by a plan.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the plan does not fit the model.
    pub fn planned(config: &LmConfig, plan: &Plan) -> Result<Self> {
        config.check_layers()?;
        let plans = plan.resolve(&shapes(config))?;
        let size = |name: &str, shape: &[usize]| {
            let planned = plans.iter().find(|plan| plan.name == name);
            let Some((zeros, encoding)) =
                planned.and_then(|plan| Some((plan.zeros, plan.encoding?)))
            else {
                return Ok::<_, Infallible>(TensorSize::float(shape));
            };
            let scales = match encoding.scale_per {
                ScalePer::Tensor => 1,
                ScalePer::Row => shape[0] as u128,
            };
            let size = TensorSize::declared(shape, zeros, encoding.bits, scales, encoding.block);
            Ok(if encoding.grid == Grid::Codebook { size.with_book() } else { size })
        };
        let Ok(mut model) = Self::new(config, every_layer(config), FULL_BITS, size);
        model.activation_bits = plan.activations();
        if model.activation_bits.is_some() {
            let projections = model.clusters.iter().filter(|cluster| cluster.projection.is_some());
            model.activation_scales = (config.layers + 1 + projections.count()) as u128;
        }
        Ok(model)
    }

    /// A model that is pruned by a plan, and not rounded: its numbers in floating point count half.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the plan does not fit the model.
    pub fn pruned(config: &LmConfig, plan: &Plan) -> Result<Self> {
        let plans = plan.resolve(&shapes(config))?;
        let float_bits = FULL_BITS / 2;
        let size = |name: &str, shape: &[usize]| {
            let planned = plans.iter().find(|plan| plan.name == name);
            let block = planned.and_then(|plan| plan.encoding).map_or(1, |encoding| encoding.block);
            let zeros = planned.map_or(0.0, |plan| plan.zeros);
            Ok::<_, Infallible>(TensorSize::declared(shape, zeros, float_bits, 0, block))
        };
        let Ok(model) = Self::new(config, every_layer(config), float_bits, size);
        Ok(model)
    }

    /// The model of a compressed file, from its stored tensors; `None` for another file. Needs no libtorch.
    ///
    /// # Errors
    /// [`crate::Error::Mismatch`] if a tensor is missing.
    pub fn of_saved(saved: &SavedModel) -> Result<Option<Self>> {
        let Some((file, metadata)) = saved.compressed() else { return Ok(None) };
        Self::stored(file, metadata).map(Some)
    }

    pub(super) fn stored(file: &PackedFile, metadata: &CompressedMetadata) -> Result<Self> {
        let is_quantized = metadata.activation_bits.is_some()
            || file.tensors.values().any(|tensor| matches!(tensor, StoredTensor::Packed(_)));
        // Where nothing is quantized, floats count half.
        let float_bits = if is_quantized { FULL_BITS } else { FULL_BITS / 2 };
        let size = |name: &str, _: &[usize]| match file.tensors.get(name) {
            Some(StoredTensor::Packed(tensor)) => Ok(tensor.size()),
            Some(StoredTensor::Float { shape, .. }) => {
                Ok(TensorSize::declared(shape, 0.0, float_bits, 0, 1))
            }
            None => Err(Error::mismatch(
                "the compressed model",
                format!("has no tensor {name}"),
                "write it again with `reproduce compress`",
            )),
        };
        let config = &metadata.model;
        let mut stored = Self::new(config, every_layer(config), float_bits, size)?;
        stored.activation_bits = metadata.activation_bits;
        if let Some(steps) = file.tensors.get(ACTIVATION_STEPS) {
            stored.activation_scales = steps.size().elements();
        }
        stored.cache = metadata.cache;
        stored.shares = metadata.shares.clone();
        Ok(stored)
    }

    /// Tokens of the text that are in cluster k, and all. Without a text, all of them are in each cluster.
    pub(super) fn input_share(&self, k: usize) -> [u64; 2] {
        match &self.shares {
            Some(tokens) if tokens.iter().sum::<u64>() > 0 => {
                [tokens.get(k).copied().unwrap_or(0), tokens.iter().sum()]
            }
            _ => [1, 1],
        }
    }

    /// Classes of the softmax of each cluster: the tombstones are classes of the first.
    pub(super) fn softmax_classes(&self) -> Vec<u128> {
        let tails = self.words.len() as u128 - 1;
        let head = |k: usize| if k == 0 { tails } else { 0 };
        self.words.iter().enumerate().map(|(k, &words)| words + head(k)).collect()
    }
}

/// Name and shape of each tensor but the biases of the layers.
fn shapes(config: &LmConfig) -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![];
    let Ok(_) = ModelSize::new(config, every_layer(config), FULL_BITS, |name, shape| {
        shapes.push((name.to_owned(), shape.to_vec()));
        Ok::<_, Infallible>(TensorSize::float(shape))
    });
    shapes
}

/// The layers one by one.
fn every_layer(config: &LmConfig) -> Vec<(LayerShape, u128)> {
    config.layer_shapes().into_iter().map(|shape| (shape, 1)).collect()
}

fn layer<E>(
    i: usize,
    shape: LayerShape,
    times: u128,
    size: &mut impl FnMut(&str, &[usize]) -> Result<TensorSize, E>,
) -> Result<LayerSize, E> {
    let mut weight = size(&format!("rnns.{i}.linear.weight"), &[shape.rows(), shape.columns()])?;
    weight.times = times;
    Ok(LayerSize { weight, biases: shape.rows() as u128, output: shape.output as u128 })
}

/// Number of words in each cluster; unordered borders, which a configuration's check refuses, give empty ones.
fn words_of(config: &LmConfig, borders: &[usize]) -> Vec<usize> {
    let starts = [0].into_iter().chain(borders.iter().copied());
    let ends = borders.iter().copied().chain([config.vocab]);
    starts.zip(ends).map(|(start, end)| end.saturating_sub(start)).collect()
}
