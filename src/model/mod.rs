//! The language model: configuration, QRNN layers, dropouts, split softmax.

mod config;
mod cross_entropy;
mod dropout;
mod gates;
mod layer;
mod lm;
mod split_softmax;
mod weights;

pub use config::{LayerShape, LmConfig, Splits, WIKITEXT103_VOCAB};
pub use dropout::{Dropouts, LayerDropouts};
pub use gates::Gates;
pub use layer::QrnnLayer;
pub use lm::{DEFAULT_SEED, Forwarded, QrnnLm, State};
pub use split_softmax::{Clusters, SoftmaxWeights};
pub(crate) use split_softmax::{Targets, try_card};
