//! Makes a trained model smaller: zeros, integers of few bits, and both in one file.
//!
//! - [`Plan`]: which tensors, how many zeros, how many bits; [`Preset`]: plans that have names
//! - [`Gradual`]: a plan that training reaches step by step
//! - how many zeros each tensor bears (`sensitivity`)
//! - which weights stay (`magnitude`, and `magnitude_on_device` for weights on CUDA)
//! - models of random weights, for measurements ([`random_compressed_lm`])
//! - [`CompressedLm`]: the stored tensors and the model on their numbers

mod compressed_lm;
mod gradual;
mod magnitude;
mod magnitude_on_device;
mod plan;
mod preset;
mod random;
mod sensitivity;
mod shares;
mod tensor_report;

pub(crate) use compressed_lm::values;
pub use compressed_lm::{CompressedLm, pruned, stored_cache_of};
pub use gradual::Gradual;
pub use plan::{Plan, TensorPlan};
pub use preset::{PRESETS, Preset};
pub use random::{random_compressed_lm, random_lm};
pub use sensitivity::zeros_by_sensitivity;
pub(crate) use shares::known_shares;
pub(crate) use tensor_report::zeros;
pub use tensor_report::{TensorReport, describe};
