//! The QRNN language model.

use std::sync::Arc;

use rand::{Rng, RngExt};
use tch::{Device, Kind, Tensor};

use super::config::LmConfig;
use super::dropout::{DropoutMasks, LayerMasks, MaskOptions};
use super::layer::{Pass, QrnnLayer};
use super::operands::Operands;
use crate::data::{Corpus, Vocab};
use crate::random::{Purpose, generator};
use crate::{Error, Result};
use qrnn_ops::matmul::{Features, Precision};
use qrnn_ops::split_softmax::{Clusters, SoftmaxWeights};
use qrnn_ops::{cuda, profile};

/// The seed of a model that was given none, the original's.
pub const DEFAULT_SEED: u64 = 1882;

/// A QRNN language model: embedding, QRNN layers, split softmax tied to the embedding.
///
/// Its parameters bear the original's names (see [`QrnnLm::parameters`]).
#[derive(Debug)]
pub struct QrnnLm {
    pub(super) config: LmConfig,
    /// The words that ids stand for, where that is known.
    pub(super) vocab: Option<Arc<Vocab>>,
    pub(super) options: (Kind, Device),
    pub(super) precision: Precision,
    pub(super) clusters: Clusters,
    /// On a GPU: the weights as its products read them.
    pub(super) operands: Option<Operands>,
    pub(super) layers: Vec<QrnnLayer>,
    /// The embedding (V, E) is the softmax's weight.
    pub(super) softmax: SoftmaxWeights,
}

/// What one window hands to the next: no gradient flows through it.
#[derive(Debug)]
pub struct State {
    /// The state c of each layer, (batch, H).
    pub layers: Vec<Tensor>,
    /// The last input of the first layer, (batch, E).
    pub previous_input: Tensor,
}

/// What a forward pass gives.
#[derive(Debug)]
pub struct Forwarded {
    /// The last layer's output, (seq, batch, E).
    pub raw: Tensor,
    /// The same after its dropout.
    pub output: Tensor,
    /// To be carried into the next window, detached.
    pub state: State,
    /// The output as the softmax reads it.
    pub(crate) features: Features,
}

impl QrnnLm {
    /// A model for a corpus, with its vocabulary and fresh weights.
    ///
    /// # Errors
    /// [`Error::Usage`] where the configuration is impossible, [`Error::Unavailable`] where the
    /// device is.
    pub fn new(config: &LmConfig, corpus: &Corpus, device: Device) -> Result<Self> {
        let config = config.clone().vocab(corpus.vocab().len());
        let mut model = Self::seeded(&config, (Kind::Float, device), DEFAULT_SEED)?;
        model.adopt_vocab(corpus);
        Ok(model)
    }

    /// A model of exactly this configuration with weights drawn from `seed`: embedding uniform
    /// within ±`init_range`, biases of the decoder and the tombstones 0, linear maps uniform within
    /// ±1/sqrt(fan in).
    ///
    /// # Errors
    /// As [`QrnnLm::new`].
    pub fn seeded(config: &LmConfig, options: (Kind, Device), seed: u64) -> Result<Self> {
        config.check()?;
        config.check_layers()?;
        check_device(options.1)?;
        let rng = &mut generator(seed, Purpose::Weights, 0);
        let (vocab, emsize) = (config.vocab as i64, config.emsize as i64);
        let clusters = Clusters::new(config.vocab, config.splits.borders(config.vocab)?);
        let tails = clusters.tails() as i64;
        let zeros = |size: &[i64]| parameter(&Tensor::f_zeros(size, options)?);
        let weight = uniform(config.init_range, &[vocab, emsize], options, rng)?;
        let layers = config
            .layer_shapes()
            .into_iter()
            .map(|shape| {
                let (rows, columns) = (shape.rows() as i64, shape.columns() as i64);
                let bound = 1.0 / (columns as f64).sqrt();
                Ok(QrnnLayer {
                    shape,
                    weight: uniform(bound, &[rows, columns], options, rng)?,
                    bias: uniform(bound, &[rows], options, rng)?,
                })
            })
            .collect::<Result<_>>()?;
        let tail = match tails {
            0 => None,
            _ => Some((zeros(&[tails, emsize])?, zeros(&[tails])?)),
        };
        let softmax = SoftmaxWeights { weight, bias: zeros(&[vocab])?, tail };
        let precision = Precision::default();
        let (config, vocab, operands) = (config.clone(), None, None);
        Ok(Self { config, vocab, options, precision, clusters, operands, layers, softmax })
    }

    /// Copies of all weights, in the order of [`QrnnLm::parameters`].
    ///
    /// # Errors
    /// [`Error::Ops`] where memory runs out.
    pub fn weight_copies(&self) -> Result<Vec<Tensor>> {
        let _no_grad = tch::no_grad_guard();
        let copies = self.parameters().into_iter().map(|(_, tensor)| tensor.f_detach_copy());
        Ok(copies.collect::<Result<_, _>>()?)
    }

    /// Sets all weights to those of [`QrnnLm::weight_copies`].
    ///
    /// # Errors
    /// [`Error::Ops`] where shapes differ.
    pub fn set_weights(&mut self, weights: &[Tensor]) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        for ((_, parameter), weights) in self.parameters().into_iter().zip(weights) {
            parameter.shallow_clone().f_copy_(weights)?;
        }
        Ok(())
    }

    /// How the matrix products are computed: in single precision where nothing else was set.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Sets how the matrix products are computed, in training and evaluation. Weights and all that
    /// is carried stay as they are.
    pub fn set_precision(&mut self, precision: Precision) {
        if precision != self.precision {
            // An optimizer that steps meanwhile would not write them.
            self.operands = None;
        }
        self.precision = precision;
    }

    /// The configuration, with the vocabulary in place.
    pub fn config(&self) -> &LmConfig {
        &self.config
    }

    /// Kind of the weights, and where they lie.
    pub fn options(&self) -> (Kind, Device) {
        self.options
    }

    /// Kinds and place of the masks that its forward wants, so that it converts none.
    pub fn mask_options(&self) -> MaskOptions {
        let (weights, device) = self.options;
        MaskOptions { weights, activations: self.precision.activation_kind(self.options), device }
    }

    /// All parameters under the original's names: `encoder.weight`, `rnns.{i}.linear.weight` and
    /// `.bias`, `decoder.bias`, `criterion.tail_vectors`, `criterion.tail_bias`.
    pub fn parameters(&self) -> Vec<(String, &Tensor)> {
        let mut all = vec![("encoder.weight".to_owned(), &self.softmax.weight)];
        for (i, layer) in self.layers.iter().enumerate() {
            all.push((format!("rnns.{i}.linear.weight"), &layer.weight));
            all.push((format!("rnns.{i}.linear.bias"), &layer.bias));
        }
        all.push(("decoder.bias".to_owned(), &self.softmax.bias));
        if let Some((vectors, scalars)) = &self.softmax.tail {
            all.push(("criterion.tail_vectors".to_owned(), vectors));
            all.push(("criterion.tail_bias".to_owned(), scalars));
        }
        all
    }

    /// Number of trained numbers, the tombstones among them.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().iter().map(|(_, tensor)| tensor.numel() as u64).sum()
    }

    /// The state before the first word: zeros.
    pub fn zero_state(&self, batch: i64) -> Result<State> {
        let zeros = |width: usize| Tensor::f_zeros([batch, width as i64], self.options);
        Ok(State {
            layers: self
                .layers
                .iter()
                .map(|layer| zeros(layer.shape.output))
                .collect::<Result<_, _>>()?,
            previous_input: zeros(self.config.emsize)?,
        })
    }

    /// Runs the model over a window.
    ///
    /// * `words`: (seq, batch), kind Int64;
    /// * `masks`: the masks in training, `None` in evaluation.
    ///
    /// # Errors
    /// [`Error::Ops`] where memory runs out; [`Error::Usage`] where state and batch do not fit.
    pub fn forward(
        &self,
        words: &Tensor,
        state: &State,
        masks: Option<&DropoutMasks>,
    ) -> Result<Forwarded> {
        self.forward_embedded(&self.embed(words)?, words, state, masks, true)
    }

    /// The embedding of words, (seq, batch, E), before any dropout.
    ///
    /// # Errors
    /// [`Error::Ops`] where a word is outside the vocabulary.
    pub fn embed(&self, words: &Tensor) -> Result<Tensor> {
        let stage = profile::stage("embedding");
        let embedded = Tensor::f_embedding(&self.softmax.weight, words, -1, false, false)?;
        let _stage = stage.over([&embedded, &embedded]); // read and written
        Ok(embedded)
    }

    /// As [`QrnnLm::forward`], on the embedding of the words.
    ///
    /// * `raw`: whether the last output is wanted before its dropout, too; if not, a GPU drops it
    ///   while it is made, and `raw` is the dropped output.
    pub(crate) fn forward_embedded(
        &self,
        embedded: &Tensor,
        words: &Tensor,
        state: &State,
        masks: Option<&DropoutMasks>,
        raw: bool,
    ) -> Result<Forwarded> {
        let mut x = embedded.shallow_clone();
        if let Some(mask) = masks.and_then(|masks| masks.words.as_ref()) {
            let kept = mask.f_index_select(0, &words.f_view(-1)?)?;
            x = x.f_mul(&kept.f_view_as(words)?.f_unsqueeze(2)?)?;
        }
        if let Some(mask) = masks.and_then(|masks| masks.input.as_ref()) {
            x = x.f_mul(mask)?;
        }
        let previous_input = x.f_select(0, -1)?.f_detach()?;
        let operands = self.operands()?;
        let mut x = self.first_features(&x, &state.previous_input, operands)?;
        let mut states = vec![];
        let mut undropped = None;
        let raw = raw || !cuda::is_gpu(self.options.1);
        for (i, (layer, before)) in self.layers.iter().zip(&state.layers).enumerate() {
            let masks = masks.and_then(|masks| masks.layers.get(i));
            let dropped_apart = raw && i + 1 == self.layers.len();
            let operand = operands.map(|operands| &operands.layers[i]);
            let (output, state) = self.layer(layer, &x, before, masks, !dropped_apart, operand)?;
            states.push(state.f_detach()?);
            x = match masks.and_then(|masks| masks.output.as_ref()) {
                Some(mask) if dropped_apart => {
                    let output = output.view()?;
                    let dropped = output.f_mul(&mask.f_to_kind(output.kind())?)?;
                    undropped = Some(output);
                    Features::of(&[&dropped], operands.map(|operands| &operands.ones))?
                }
                _ => output,
            };
        }
        let output = x.view()?;
        let raw = undropped.unwrap_or_else(|| output.shallow_clone());
        Ok(Forwarded { raw, output, features: x, state: State { layers: states, previous_input } })
    }

    /// The first layer's input: x_t, and beside it x_{t-1} where the layer's window is 2.
    ///
    /// * `x`: (seq, batch, E), the embedding after its dropout;
    /// * `previous`: (batch, E), the last input of the window before.
    fn first_features(
        &self,
        x: &Tensor,
        previous: &Tensor,
        operands: Option<&Operands>,
    ) -> Result<Features> {
        let x = x.f_to_kind(self.precision.activation_kind(self.options))?;
        let ones = operands.map(|operands| &operands.ones);
        if self.layers[0].shape.window == 1 {
            return Ok(Features::of(&[&x], ones)?);
        }
        let _stage = profile::stage("input shifted");
        let seq = x.size()[0];
        let first = previous.f_to_kind(x.kind())?.f_unsqueeze(0)?;
        let shifted = Tensor::f_cat(&[first, x.f_narrow(0, 0, seq - 1)?], 0)?;
        Ok(Features::of(&[&x, &shifted], ones)?)
    }

    /// The gradient of `objective` in each parameter, in the order of [`QrnnLm::parameters`].
    ///
    /// * `embedded`: the leaf that [`QrnnLm::forward_embedded`] was given;
    /// * `words`: (seq, batch), the words that it embeds.
    ///
    /// The embedding's gradient is added, row by row, to that of the softmax it is tied to. Autograd
    /// would make it as large as the vocabulary first: zeros, a few rows, and a sum of two such.
    ///
    /// # Errors
    /// [`Error::Ops`] where memory runs out.
    pub(crate) fn gradients(
        &self,
        objective: &Tensor,
        embedded: &Tensor,
        words: &Tensor,
    ) -> Result<Vec<Tensor>> {
        let parameters = self.parameters();
        let mut leaves: Vec<&Tensor> = parameters.iter().map(|(_, tensor)| *tensor).collect();
        leaves.push(embedded);
        let mut gradients = Tensor::f_run_backward(&[objective], &leaves, false, false)?;
        if let (Some(rows), Some(tied)) = (gradients.pop(), gradients.first_mut()) {
            // A row of the sum is read and written for each that is added.
            let _stage = profile::stage("embedding").over([&rows, &rows, &rows]);
            let rows = self.flat(&rows)?.f_to_kind(tied.kind())?;
            let _ = tied.f_index_add_(0, &words.f_view(-1)?, &rows)?;
        }
        Ok(gradients)
    }

    /// z, f and o of a layer before activation, (seq, batch, 3 H), with the state zero at first and
    /// nothing dropped.
    pub(super) fn gates_before_activation(&self, words: &Tensor, layer: usize) -> Result<Tensor> {
        let state = self.zero_state(words.size()[1])?;
        let x = Tensor::f_embedding(&self.softmax.weight, words, -1, false, false)?;
        let mut x = self.first_features(&x, &state.previous_input, None)?;
        for (below, before) in self.layers[..layer].iter().zip(&state.layers) {
            x = self.layer(below, &x, before, None, true, None)?.0;
        }
        self.layers[layer].gates(&x, None, self.precision, None)
    }

    fn layer(
        &self,
        layer: &QrnnLayer,
        x: &Features,
        before: &Tensor,
        masks: Option<&LayerMasks>,
        locked: bool,
        operand: Option<&Tensor>,
    ) -> Result<(Features, Tensor)> {
        let (zoneout, precision) = (self.config.zoneout, self.precision);
        layer.forward(x, before, &Pass { masks, locked, zoneout, precision, operand })
    }
}

/// # Errors
/// [`Error::Unavailable`] for a GPU where there is none, or something that computing on it needs.
fn check_device(device: Device) -> Result<()> {
    match device {
        Device::Cpu => Ok(()),
        Device::Cuda(_) => Ok(qrnn_ops::device::cuda().map(drop)?),
        other => Err(Error::unavailable(
            format!("device {other:?}"),
            "the kernels are for the CPU and for CUDA",
            "use --device cpu, or --device auto",
        )),
    }
}

/// A leaf that gradients are kept for.
fn parameter(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_set_requires_grad(true)?)
}

fn uniform(
    bound: f64,
    size: &[i64],
    (kind, device): (Kind, Device),
    rng: &mut impl Rng,
) -> Result<Tensor> {
    let n: i64 = size.iter().product();
    let values: Vec<f32> =
        (0..n).map(|_| ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32).collect();
    parameter(&Tensor::f_from_slice(&values)?.f_view(size)?.f_to_kind(kind)?.f_to_device(device)?)
}

#[cfg(test)]
#[path = "lm_tests.rs"]
mod tests;
