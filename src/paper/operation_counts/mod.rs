//! Counts parameters and operations per token as the MicroNet Challenge scores them.
//!
//! [`count_ops`] gives the published count. [`OpCounter`] also counts by the rules of the challenge
//! ([`OpCounter::rules`]), for pruned and quantized models. Both are sums over a [`Ledger`] of items: a part of the
//! model, how many numbers or operations, and their width.
//!
//! With vocabulary size V, embedding width E, and layers with C inputs (window × input width) and H
//! outputs, the published count is
//!
//! | part | parameters | multiplications | additions |
//! | --- | --- | --- | --- |
//! | embedding | V·E | 0 | 0 |
//! | QRNN layer | C·3H + 3H | C·3H + 9H | C·3H + 6H |
//! | decoder (tied) | V | V·E + V | V·(E - 1) |
//!
//! A QRNN layer's 9H and 6H are one tanh (3 multiplications and 2 additions a unit), two sigmoids
//! (2 and 1 each) and pooling (2 and 2); its C·3H additions are (C - 1)·3H of the matmul and 3H of the
//! bias. The decoder's V multiplications are the maximum over the vocabulary. The decoder always computes
//! the whole vocabulary, even if training splits the softmax.

mod counter;
mod ledger;
mod model_size;
mod published;
mod rules;
mod shares;
mod table;
#[cfg(test)]
mod tests;

pub use counter::{OpCounter, count_ops};
pub use ledger::{BASELINE_OPERATIONS, BASELINE_PARAMETERS, Cost, Item, Ledger, Part};
pub use model_size::{ClusterSize, LayerSize, ModelSize};
pub use table::{FIGURES, OpRow, OpTable};
