//! What a continuous cache says of the next token (Grave, Joulin and Usunier 2016, arXiv 1612.04426,
//! equation 2): a softmax over the inner products of the current hidden state with those of the last positions,
//! each of which votes for the token that followed it.
//!
//! ```text
//! p_cache(w | t) = Σ 1[w_i = w] exp(θ h_t · h_i) / Σ exp(θ h_t · h_i),   t - size ≤ i < t
//! ```
//!
//! h_i is the key of position i, and w_i, its value, is the token that followed h_i. The target of position t is
//! therefore its own value, and its own pair is never among those that it sees. Without gradients.

mod attention;
mod chunk;
mod cpu;
mod rows;
mod torch;

pub use attention::CacheAttention;
