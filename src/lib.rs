//! The JAIST team's MicroNet-Challenge entry, rebuilt: a QRNN language model on WikiText-103,
//! squeezed from 153 M parameters to 105 M while its test perplexity stays under 35.
//!
//! Data flows one way: text → tokens → batches → model → loss → optimizer → weights → evaluation →
//! tables and plots.

#[doc(hidden)] // for the programs of this workspace
pub mod command_line;
pub mod compress;
pub mod data;
pub mod error;
pub mod evaluate;
mod files;
pub mod format;
pub mod generate;
pub mod interrupt;
pub mod json;
pub mod model;
pub mod notebook;
pub mod packed;
pub mod paper;
pub mod prelude;
pub mod progress;
pub mod random;
pub mod terminal;
pub mod train;
pub mod view;

pub use error::{Error, Result};
/// The differentiable operations that the model is made of.
pub use qrnn_ops as ops;
#[doc(hidden)]
// rustc names a type of it so in a notebook: a renamed crate keeps its name there
pub use qrnn_ops;
/// libtorch for Rust, the version that this crate is built on.
pub use tch;

/// The README's Rust example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
