//! Evaluation: cross entropy and perplexity of a model, alone or with a neural cache.

mod evaluation;
pub mod neural_cache;
mod options;
mod windows;

pub use evaluation::{Evaluation, TextEvaluation, evaluate_split, evaluate_text};
pub(crate) use evaluation::{validate, validate_together};
pub use options::EvalOptions;
