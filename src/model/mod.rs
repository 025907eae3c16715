//! The language model: configuration, QRNN layers, dropouts, split softmax.

mod config;
mod cross_entropy;
mod dropout;
mod gates;
mod layer;
mod lm;
mod saved;
mod split_softmax;
mod vocabulary;
mod weights;

pub(crate) use config::MAX_SIZE;
pub use config::{LayerShape, LmConfig, MOST_LAYERS, Splits, WIKITEXT103_VOCAB};
#[cfg(test)]
pub(crate) use dropout::DROPOUT_MASK;
pub use dropout::{Dropouts, LayerDropouts, MaskOptions};
pub use gates::Gates;
pub use layer::QrnnLayer;
pub use lm::{DEFAULT_SEED, Forwarded, QrnnLm, State};
pub use saved::SavedModel;
pub(crate) use saved::{check_words, metadata};
pub(crate) use split_softmax::Targets;
pub use split_softmax::{Clusters, SoftmaxWeights};
pub(crate) use vocabulary::check_vocabulary;

use std::sync::Arc;

use tch::Device;

use crate::Result;
use crate::cuda::Launch;

/// Small calls of a GPU's kernels for the model, held against the CPU's.
///
/// # Errors
/// [`crate::Error::Unavailable`] where they disagree.
pub(crate) fn try_card(launcher: &Arc<dyn Launch>, device: Device) -> Result<()> {
    dropout::try_card(launcher, device)?;
    split_softmax::try_card(&**launcher, device)
}
