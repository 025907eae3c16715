//! The QRNN language model.

use std::cell::RefCell;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::activations::{Activations, InputRounding};
use super::config::LmConfig;
use super::copy_grid::CopyGrid;
use super::dropout::{DropoutMasks, MaskOptions};
use super::layer::{Pass, QrnnLayer};
use super::operands::Operands;
use super::packed_products::PackedRoute;
use crate::Result;
use crate::data::{Corpus, IdOrder, Vocab};
use crate::packed::PackedFile;
use qrnn_ops::cuda;
use qrnn_ops::matmul::{Features, Precision};
use qrnn_ops::profile::{self, Stage};
use qrnn_ops::split_softmax::{Clusters, SoftmaxWeights};

/// The default seed, that of awd-lstm-lm.
pub const DEFAULT_SEED: u64 = 1882;

/// A QRNN language model: embedding, QRNN layers, and a split softmax with tied weights.
///
/// Its parameters have the names of awd-lstm-lm (see [`QrnnLm::parameters`]).
#[derive(Debug)]
pub struct QrnnLm {
    pub(super) config: LmConfig,
    /// The vocabulary, if known.
    pub(super) vocab: Option<Arc<Vocab>>,
    /// The order of the token ids, if known.
    pub(super) ids: Option<IdOrder>,
    pub(super) options: (Kind, Device),
    pub(super) precision: Precision,
    pub(super) clusters: Clusters,
    /// On CUDA: copies of the weights for matmuls.
    pub(super) operands: Option<Operands>,
    /// The grids of these copies while the model is compressed.
    pub(super) copy_grids: Option<Vec<Option<CopyGrid>>>,
    pub(super) layers: Vec<QrnnLayer>,
    /// Its weights are also the embedding: one (V, E), or one for each cluster of an adaptive model.
    pub(super) softmax: SoftmaxWeights,
    /// For each cluster of an adaptive model, the projection (E, width); `None` for one of width E. Otherwise empty.
    pub(super) projections: Vec<Option<Tensor>>,
    /// What happens to the inputs of products.
    pub(super) input_rounding: InputRounding,
    /// The tensors as they are stored, if the model is of a compressed file.
    pub(super) packed: Option<Arc<PackedFile>>,
    pub(super) packed_route: PackedRoute,
}

/// The state carried from one window to the next, detached from the autograd graph.
#[derive(Debug)]
pub struct State {
    /// The state c of each layer, (batch, H).
    pub layers: Vec<Tensor>,
    /// The last input x_t of the first layer, (batch, E).
    pub previous_input: Tensor,
}

/// Results of a forward pass.
#[derive(Debug)]
pub struct Forwarded {
    /// The output of the last layer before dropout, (seq, batch, E).
    pub raw: Tensor,
    /// The output of the last layer after dropout, (seq, batch, E).
    pub output: Tensor,
    /// The state for the next window.
    pub state: State,
    /// The output as an operand of the softmax.
    pub(crate) features: Features,
}

impl QrnnLm {
    /// A model with the vocabulary of a corpus and randomly initialized weights.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the configuration is invalid, or has widths and the corpus has ids in order of first
    /// appearance; [`crate::Error::Unavailable`] if the device is not available.
    pub fn new(config: &LmConfig, corpus: &Corpus, device: Device) -> Result<Self> {
        config.check_ids(corpus.ids())?;
        let config = config.clone().vocab(corpus.vocab().len());
        let mut model = Self::seeded(&config, (Kind::Float, device), DEFAULT_SEED)?;
        model.adopt_vocab(corpus);
        Ok(model)
    }

    /// Copies of all weights, in the order of [`QrnnLm::parameters`].
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn weight_copies(&self) -> Result<Vec<Tensor>> {
        let _no_grad = tch::no_grad_guard();
        let copies = self.parameters().into_iter().map(|(_, tensor)| tensor.f_detach_copy());
        Ok(copies.collect::<Result<_, _>>()?)
    }

    /// Sets all weights to those of [`QrnnLm::weight_copies`].
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if shapes differ.
    pub fn set_weights(&mut self, weights: &[Tensor]) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        for ((_, parameter), weights) in self.parameters().into_iter().zip(weights) {
            parameter.shallow_clone().f_copy_(weights)?;
        }
        self.packed = None;
        Ok(())
    }

    /// The precision of matrix products and activations; single precision by default.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Sets the precision of matrix products and activations, in training and evaluation. Weights and states
    /// keep their kind.
    pub fn set_precision(&mut self, precision: Precision) {
        if precision != self.precision {
            // The optimizer updates copies only of the current precision.
            self.operands = None;
        }
        self.precision = precision;
    }

    /// The configuration, with the actual vocabulary size.
    pub fn config(&self) -> &LmConfig {
        &self.config
    }

    /// Kind and device of the weights.
    pub fn options(&self) -> (Kind, Device) {
        self.options
    }

    /// Kinds and device of the masks that [`QrnnLm::forward`] uses without conversion.
    pub fn mask_options(&self) -> MaskOptions {
        let (weights, device) = self.options;
        MaskOptions { weights, activations: self.precision.activation_kind(self.options), device }
    }

    /// All parameters with the names of awd-lstm-lm: `encoder.weight`, `rnns.{i}.linear.weight` and
    /// `.bias`, `decoder.bias`, `criterion.tail_vectors`, `criterion.tail_bias`.
    ///
    /// An adaptive model has, in place of `encoder.weight`, `encoder.{k}.weight` (tokens, width) of each cluster, then
    /// `projections.{k}.weight` (E, width) of each cluster narrower than E.
    pub fn parameters(&self) -> Vec<(String, &Tensor)> {
        let weights = self.softmax.weights.iter().enumerate();
        let mut all: Vec<_> = weights.map(|(k, weight)| (self.encoder(k), weight)).collect();
        for (k, projection) in self.projections.iter().enumerate() {
            all.extend(projection.iter().map(|matrix| (format!("projections.{k}.weight"), matrix)));
        }
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

    /// The name of weight `k` of the softmax, which is also the embedding.
    pub(super) fn encoder(&self, k: usize) -> String {
        match self.config.widths {
            Some(_) => format!("encoder.{k}.weight"),
            None => "encoder.weight".to_owned(),
        }
    }

    /// Number of trained values, including the cluster vectors of the softmax.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().iter().map(|(_, tensor)| tensor.numel() as u64).sum()
    }

    /// The zero state, for the start of a text.
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
    /// * `tokens`: token ids, (seq, batch), kind Int64;
    /// * `masks`: dropout masks in training, `None` in evaluation.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out or the shapes of state and batch differ.
    pub fn forward(
        &self,
        tokens: &Tensor,
        state: &State,
        masks: Option<&DropoutMasks>,
    ) -> Result<Forwarded> {
        self.forward_embedded(&self.embed(tokens)?, tokens, state, masks, true)
    }

    /// As [`QrnnLm::forward`], on the embedding of the tokens.
    ///
    /// * `raw`: whether [`Forwarded::raw`] is needed. If not, CUDA fuses the last dropout with the pooling,
    ///   and `raw` is the output after dropout.
    pub(crate) fn forward_embedded(
        &self,
        embedded: &Tensor,
        tokens: &Tensor,
        state: &State,
        masks: Option<&DropoutMasks>,
        raw: bool,
    ) -> Result<Forwarded> {
        let mut x = self.input_rounding.apply(0, embedded)?;
        if let Some(mask) = masks.and_then(|masks| masks.words.as_ref()) {
            let token_mask = mask.f_index_select(0, &tokens.f_view(-1)?)?;
            let token_mask = token_mask.f_view_as(tokens)?.f_unsqueeze(2)?;
            x = x.f_mul(&token_mask.f_to_kind(x.kind())?)?;
        }
        if let Some(mask) = masks.and_then(|masks| masks.input.as_ref()) {
            x = x.f_mul(&mask.f_to_kind(x.kind())?)?;
        }
        let previous_input = x.f_select(0, -1)?.f_detach()?;
        let operands = self.operands()?;
        let packed = if masks.is_none() { self.packed_products()? } else { None };
        let mut x = self.first_features(&x, &state.previous_input, operands)?;
        let mut states = vec![];
        let mut undropped = None;
        let raw = raw || !cuda::is_gpu(self.options.1);
        for (i, (layer, initial_state)) in self.layers.iter().zip(&state.layers).enumerate() {
            let masks = masks.and_then(|masks| masks.layers.get(i));
            // Outputs are rounded before dropout, which scales them.
            let rounds = !self.input_rounding.is_off();
            let separate_dropout = rounds || raw && i + 1 == self.layers.len();
            let pass = Pass {
                masks,
                drop_output: !separate_dropout,
                zoneout: self.config.zoneout,
                precision: self.precision,
                operand: operands.map(|operands| &operands.layers[i]),
                packed: packed.map(|packed| &packed.layers[i]),
            };
            let (output, state) = layer.forward(&x, initial_state, &pass)?;
            states.push(state.f_detach()?);
            let output = self.rounded_features(i + 1, output, operands)?;
            x = match masks.and_then(|masks| masks.output.as_ref()) {
                Some(mask) if separate_dropout => {
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

    /// The input of the first layer: x_t, concatenated with x_{t-1} if the layer's window is 2.
    ///
    /// * `x`: (seq, batch, E), the embedding after dropout;
    /// * `previous`: (batch, E), the last input of the previous window.
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
        let _span = profile::span(Stage::InputShift);
        let seq = x.size()[0];
        let first = previous.f_to_kind(x.kind())?.f_unsqueeze(0)?;
        let shifted = Tensor::f_cat(&[first, x.f_narrow(0, 0, seq - 1)?], 0)?;
        Ok(Features::of(&[&x, &shifted], ones)?)
    }

    /// The input of a product, rounded if the model's inputs are.
    pub(super) fn rounded_features(
        &self,
        product: usize,
        x: Features,
        operands: Option<&Operands>,
    ) -> Result<Features> {
        if self.input_rounding.is_off() {
            return Ok(x);
        }
        let rounded = self.input_rounding.apply(product, &x.view()?)?;
        Ok(Features::of(&[&rounded], operands.map(|operands| &operands.ones))?)
    }

    /// The number of the product with the weights of a cluster that has a projection.
    pub(super) fn product_of_cluster(&self, cluster: usize) -> usize {
        let before = self.projections[..cluster].iter().flatten().count();
        self.layers.len() + 1 + before
    }

    /// The largest absolute value of the inputs of each product over a text, in the order of [`Activations`].
    ///
    /// * `tokens`: token ids, (seq, batch).
    ///
    /// # Errors
    /// [`Error::Ops`] if memory runs out.
    pub(crate) fn largest_inputs(&mut self, tokens: &Tensor) -> Result<Vec<f64>> {
        let _no_grad = tch::no_grad_guard();
        let observed = InputRounding::Observed(RefCell::default());
        let before = std::mem::replace(&mut self.input_rounding, observed);
        let state = self.zero_state(tokens.size2()?.1)?;
        let forwarded = self
            .forward(tokens, &state, None)
            .and_then(|forwarded| self.hidden_states(&forwarded.features, None).map(drop));
        match (std::mem::replace(&mut self.input_rounding, before), forwarded) {
            (InputRounding::Observed(largest), Ok(())) => Ok(largest.into_inner()),
            (_, result) => result.map(|()| vec![]),
        }
    }

    /// Rounds the inputs of products from now on.
    pub(crate) fn round_inputs(&mut self, activations: Activations) {
        self.input_rounding = InputRounding::Rounded(activations);
        self.packed_route = PackedRoute::default();
    }

    /// The grids of the inputs of products; `None` if they are not rounded.
    pub fn activations(&self) -> Option<&Activations> {
        match &self.input_rounding {
            InputRounding::Rounded(activations) => Some(activations),
            InputRounding::Off | InputRounding::Observed(_) => None,
        }
    }

    /// The tensors as they are stored, if the model is of a compressed file.
    pub fn packed(&self) -> Option<&PackedFile> {
        self.packed.as_deref()
    }

    /// A pass in floating point without dropout.
    fn plain_pass(&self) -> Pass<'_> {
        let (zoneout, precision) = (self.config.zoneout, self.precision);
        Pass { masks: None, drop_output: true, zoneout, precision, operand: None, packed: None }
    }

    /// z, f and o of a layer before activation, (seq, batch, 3 H), from the zero state and without
    /// dropout.
    pub(super) fn gates_before_activation(&self, tokens: &Tensor, layer: usize) -> Result<Tensor> {
        let state = self.zero_state(tokens.size()[1])?;
        let x = self.embed(tokens)?;
        let mut x = self.first_features(&x, &state.previous_input, None)?;
        for (below, initial_state) in self.layers[..layer].iter().zip(&state.layers) {
            x = below.forward(&x, initial_state, &self.plain_pass())?.0;
        }
        Ok(self.layers[layer].gates(&x, &self.plain_pass())?.view()?)
    }
}

#[cfg(test)]
#[path = "lm_tests.rs"]
mod tests;
