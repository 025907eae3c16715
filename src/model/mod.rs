//! The language model: configuration, QRNN layers, dropouts, split softmax.

mod activations;
#[cfg(test)]
mod adaptive_tests;
mod batch_share;
mod compressed;
mod config;
mod copy_grid;
mod copy_rounding;
mod dropout;
mod embedding;
mod file_metadata;
mod finite;
mod gates;
mod health;
mod initial_weights;
mod layer;
mod lm;
mod loading;
mod loss;
mod operand_refresh;
mod operands;
mod packed_evaluation;
mod packed_products;
mod rounded;
mod saved;
mod splits;
mod vocabulary;
mod weights;
mod widths;

pub use activations::Activations;
pub use batch_share::BatchShare;
pub(crate) use compressed::{
    ACTIVATION_STEPS, CACHE, CompressedMetadata, model_of, stored_cache, words_checksum,
};
pub(crate) use config::MAX_SIZE;
pub use config::{LayerShape, LmConfig, MAX_LAYERS, WIKITEXT103_VOCAB};
pub(crate) use copy_grid::CopyGrid;
pub use dropout::{DropoutMasks, LayerMasks, MaskOptions};
pub(crate) use embedding::AdditionOrder;
pub(crate) use file_metadata::{check_words, metadata};
pub use gates::Gates;
pub use layer::QrnnLayer;
pub use lm::{DEFAULT_SEED, Forwarded, QrnnLm, State};
#[cfg(test)]
pub(crate) use packed_evaluation::tests::{Stored, stored_model};
pub use saved::SavedModel;
pub use splits::Splits;
pub(crate) use vocabulary::check_vocabulary;
