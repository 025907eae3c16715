//! What a mask holds.

/// The distribution of a mask's values: 0 with probability `p`, otherwise `kept`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bernoulli {
    /// Probability of 0.
    pub p: f64,
    /// The other value.
    pub kept: f64,
}

impl Bernoulli {
    /// Dropout's, which keeps the mean: 0 or 1 / (1 - p).
    pub fn dropout(p: f64) -> Self {
        Self { p, kept: 1.0 / (1.0 - p) }
    }

    /// Zoneout's: 0 or 1.
    pub fn zoneout(p: f64) -> Self {
        Self { p, kept: 1.0 }
    }
}
