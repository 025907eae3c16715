//! The continuous, or neural, cache of Grave, Joulin and Usunier (2016, arXiv 1612.04426): a model's
//! prediction is mixed with one from its recent hidden states, each of which votes for the token that followed
//! it.
//!
//! ```text
//! p(w) = (1 - λ) p_model(w | h_t) + λ p_cache(w),   p_cache(w) ∝ Σ 1[w_i = w] exp(θ h_t · h_i)
//! ```
//!
//! (equations 2 and 3), over the last `size` pairs of a hidden state h_i and the token w_i that followed it.
//! The cache is on-line: while it predicts the token after h_t, its newest pair is that of h_{t-1}. It starts
//! empty at the beginning of the text, and the very first token is predicted by the model alone. The weights of
//! the model do not change, so a trained model needs no further training.
//!
//! Each batch column has its own cache. Reported perplexities are those of one column, where the cache sees
//! the whole text before a token.

mod cache;
mod evaluation;
mod mixture;
mod pairs;
mod recorded;
mod search;
mod surface;
#[cfg(test)]
mod tests;

pub use cache::{MAX_SIZE, MAX_THETA, NeuralCache};
pub use evaluation::{CachedEvaluation, evaluate_split_with, evaluate_text_with};
pub use search::CacheSearch;
pub use surface::{LAMBDAS, SearchedTheta};
