//! The language model: configuration, QRNN layers, dropouts, split softmax.

mod activations;
mod compressed;
mod config;
mod dropout;
mod finite;
mod gates;
mod health;
mod layer;
mod lm;
mod loss;
mod operand_refresh;
mod operands;
mod rounded;
mod saved;
mod vocabulary;
mod weights;

pub use activations::Activations;
pub(crate) use compressed::{ACTIVATION_STEPS, CompressedMetadata, WORDS, model_of};
pub(crate) use config::MAX_SIZE;
pub use config::{LayerShape, LmConfig, MAX_LAYERS, Splits, WIKITEXT103_VOCAB};
pub use dropout::{DropoutMasks, LayerMasks, MaskOptions};
pub use gates::Gates;
pub use layer::QrnnLayer;
pub use lm::{DEFAULT_SEED, Forwarded, QrnnLm, State};
pub use saved::SavedModel;
pub(crate) use saved::{check_words, metadata};
pub(crate) use vocabulary::check_vocabulary;
