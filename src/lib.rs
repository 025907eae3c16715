//! The JAIST team's MicroNet-Challenge entry, rebuilt: a QRNN language model on WikiText-103,
//! squeezed from 153 M parameters to 105 M while its test perplexity stays under 35.
//!
//! Data flows one way: text → words → columns → model → loss → optimiser → weights → evaluation →
//! tables and plots.

mod atomic_file;
pub mod autograd;
mod columns;
pub mod corpus;
pub mod count;
pub mod cuda;
pub mod display;
pub mod error;
pub mod evaluate;
pub mod experiment;
pub mod fetch;
pub mod generate;
pub mod interrupt;
pub mod json;
pub mod libtorch;
pub mod matmul;
pub mod model;
pub mod paper;
pub mod plot;
pub mod pool;
pub mod profile;
pub mod random;
pub mod report;
mod tensor_file;
pub mod terminal;
pub mod train;
mod user_cache;

pub use error::{Error, Result};
/// libtorch for Rust, the version that this crate is built on.
pub use tch;

/// The README's Rust example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// All that a program or a notebook cell usually wants.
pub mod prelude {
    pub use tch::{Device, Kind, Tensor};

    pub use crate::corpus::{Corpus, Split};
    pub use crate::count::count_ops;
    pub use crate::evaluate::evaluate;
    pub use crate::generate::{Sampling, generate};
    pub use crate::model::{LmConfig, QrnnLm, Splits};
    pub use crate::train::{Recipe, Trainer};
    pub use crate::{Error, Result, paper, plot};
}
