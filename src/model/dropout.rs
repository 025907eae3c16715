//! Dropout masks of a training step. CPU and CUDA sample the same masks from the same random stream.

use qrnn_ops::dropout_mask::{Bernoulli, MaskSampler};
use tch::{Device, Kind, Tensor};

use super::batch_share::BatchShare;
use super::config::LmConfig;
use crate::Result;
use crate::random::Stream;
use qrnn_ops::profile::{self, Stage};

/// The dropout masks of one forward pass; `None` without dropout.
///
/// Masks hold 0 and 1 / (1 - p); those of zoneout hold 0 and 1. They are sampled apart from the forward
/// pass, so tests can use fixed masks. `batch` is the number of columns that the pass computes, a share of a
/// larger batch in data-parallel training.
#[derive(Debug, Default)]
pub struct DropoutMasks {
    /// (vocab), on the rows of the embedding (dropoute).
    pub words: Option<Tensor>,
    /// (1, batch, E), on the embedded tokens (dropouti).
    pub input: Option<Tensor>,
    /// One entry per layer; may be empty without dropout in the layers.
    pub layers: Vec<LayerMasks>,
}

/// The masks of one layer.
#[derive(Debug, Default)]
pub struct LayerMasks {
    /// (3 H, window × input), on the linear weight (wdrop).
    pub weight: Option<Tensor>,
    /// (seq, batch, H), on the forget gate (zoneout).
    pub zoneout: Option<Tensor>,
    /// (1, batch, H), on the output (hidden dropout, or output dropout for the last layer).
    pub output: Option<Tensor>,
}

/// Kinds and device of the masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskOptions {
    /// Kind of the masks on weights and embeddings: that of the weights.
    pub weights: Kind,
    /// Kind of the masks on gates and layer outputs.
    pub activations: Kind,
    /// The device of all masks.
    pub device: Device,
}

impl DropoutMasks {
    /// Samples the masks of a training step on some columns of a (seq, batch) input.
    ///
    /// Each element of each mask of the whole batch consumes one 32-bit word of `stream`, in the order of the
    /// fields, on every device. The masks of a share are the columns of those, (seq, share, features), and the
    /// words of other columns are not computed; masks on weights and embeddings are the same for all shares.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if the batch does not have these columns, memory runs out or a CUDA kernel cannot be
    /// compiled or launched; [`crate::Error::Unavailable`] if CUDA is not available.
    pub fn sample(
        config: &LmConfig,
        seq: i64,
        share: &BatchShare,
        options: MaskOptions,
        stream: Stream,
    ) -> Result<Self> {
        let mut sampler = MaskSampler::new(options.device, stream.key())?;
        let _span = profile::span(Stage::DropoutMasks);
        let weights = (options.weights, options.device);
        let activations = (options.activations, options.device);
        let words = sampler.sample(
            Bernoulli::dropout(config.embedding_dropout),
            &[config.vocab as i64],
            weights,
        )?;
        let whole = |rows, features: usize| [rows, share.batch, features as i64];
        let columns = &share.columns;
        let input = sampler.sample_columns(
            Bernoulli::dropout(config.input_dropout),
            whole(1, config.emsize),
            columns.clone(),
            weights,
        )?;
        let mut layers = vec![];
        for (i, shape) in config.layer_shapes().iter().enumerate() {
            let linear = [shape.rows() as i64, shape.columns() as i64];
            let last = i + 1 == config.layers;
            let p = if last { config.output_dropout } else { config.hidden_dropout };
            layers.push(LayerMasks {
                weight: sampler.sample(Bernoulli::dropout(config.weight_drop), &linear, weights)?,
                zoneout: sampler.sample_columns(
                    Bernoulli::zoneout(config.zoneout),
                    whole(seq, shape.output),
                    columns.clone(),
                    activations,
                )?,
                output: sampler.sample_columns(
                    Bernoulli::dropout(p),
                    whole(1, shape.output),
                    columns.clone(),
                    activations,
                )?,
            });
        }
        Ok(Self { words, input, layers })
    }

    /// All masks, in the order in which they consume the stream.
    #[cfg(test)]
    fn masks(&self) -> impl Iterator<Item = &Tensor> {
        let of_layers =
            self.layers.iter().flat_map(|layer| [&layer.weight, &layer.zoneout, &layer.output]);
        [&self.words, &self.input].into_iter().chain(of_layers).flatten()
    }
}

#[cfg(test)]
#[path = "dropout_tests.rs"]
mod tests;
