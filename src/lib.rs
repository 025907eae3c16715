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
pub mod error;
pub mod evaluate;
pub mod experiment;
pub mod generate;
pub mod interrupt;
pub mod libtorch;
pub mod model;
pub mod paper;
pub mod plot;
pub mod pool;
pub mod random;
pub mod report;
pub mod train;

pub use error::{Error, Result};
