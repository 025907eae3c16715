//! What a program or a notebook cell usually needs.

pub use tch::{Device, Kind, Tensor};

pub use crate::data::{Corpus, Split};
pub use crate::evaluate::neural_cache::NeuralCache;
pub use crate::generate::Sampling;
pub use crate::model::{LmConfig, QrnnLm, Splits};
pub use crate::paper::operation_counts::count_ops;
pub use crate::train::{Recipe, Trainer};
pub use crate::view::plot;
pub use crate::view::progress::{evaluate, evaluate_with, generate};
pub use crate::{Error, Result, paper};
