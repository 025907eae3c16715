//! The distribution of a mask.

/// The distribution of a mask's elements: 0 with probability `p`, otherwise `scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bernoulli {
    /// Probability of 0.
    pub p: f64,
    /// The value of the other elements.
    pub scale: f64,
}

impl Bernoulli {
    /// Dropout: 0 or 1 / (1 - p), so that the mean is 1.
    pub fn dropout(p: f64) -> Self {
        Self { p, scale: 1.0 / (1.0 - p) }
    }

    /// Zoneout: 0 or 1.
    pub fn zoneout(p: f64) -> Self {
        Self { p, scale: 1.0 }
    }
}
