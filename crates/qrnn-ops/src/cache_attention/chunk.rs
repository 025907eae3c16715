//! A part of the scores.

use tch::Tensor;

/// Queries of one product with the keys that any of them sees.
pub(super) struct Chunk<'a> {
    /// The token after each hidden state of the text, (positions).
    pub values: &'a [i64],
    /// Number of pairs that a position sees.
    pub size: usize,
    /// First query, as a position.
    pub start: usize,
    /// Number of queries.
    pub queries: usize,
    /// First key, as a position.
    pub first: usize,
    /// (queries, keys): h_t · h_i. A row holds scores outside of its query's band too.
    pub scores: Tensor,
}
