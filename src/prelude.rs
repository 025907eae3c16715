//! What a program or a notebook cell usually needs.

pub use tch::{Device, Kind, Tensor};

pub use crate::compress::{CompressedLm, Plan};
pub use crate::data::{Corpus, Split};
pub use crate::evaluate::neural_cache::NeuralCache;
pub use crate::generate::Sampling;
pub use crate::model::{LmConfig, QrnnLm, Splits};
pub use crate::paper::compression::CompressionStudy;
pub use crate::paper::operation_counts::count_ops;
pub use crate::train::{Compressor, LocalWorkers, Recipe, Trainer};
pub use crate::view::plot;
pub use crate::view::progress::{evaluate, evaluate_with, generate};
pub use crate::{Error, Result, paper};
