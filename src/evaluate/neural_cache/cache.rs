//! The settings of a cache.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The largest [`NeuralCache::size`].
pub const MAX_SIZE: usize = 100_000;

/// The largest [`NeuralCache::theta`]. Hidden states lie in (-1, 1), and values of use are below 100.
pub const MAX_THETA: f64 = 1e6;

/// A neural cache: its size, and how it is mixed with the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NeuralCache {
    /// Number of pairs that it holds, in tokens.
    pub size: usize,
    /// Weight λ of the cache's prediction, at least 0 and less than 1. 0 is the model alone.
    pub lambda: f64,
    /// Factor θ of the inner products, at least 0. At 0 all pairs count the same.
    pub theta: f64,
}

impl NeuralCache {
    /// # Errors
    /// [`Error::Config`] if a value is out of its range.
    pub fn new(size: usize, lambda: f64, theta: f64) -> Result<Self> {
        let cache = Self { size, lambda, theta };
        cache.check()?;
        Ok(cache)
    }

    /// # Errors
    /// [`Error::Config`] if a value is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { size, lambda, theta } = *self;
        if !(1..=MAX_SIZE).contains(&size) {
            let problem = format!("must be from 1 to {MAX_SIZE}");
            return Err(Error::config("cache.size", size, problem, "use for example 2000"));
        }
        if !(0.0..1.0).contains(&lambda) {
            let problem = "must be at least 0 and less than 1";
            return Err(Error::config("cache.lambda", lambda, problem, "use for example 0.1"));
        }
        if !(0.0..=MAX_THETA).contains(&theta) {
            let problem = format!("must be from 0 to {MAX_THETA:e}");
            return Err(Error::config("cache.theta", theta, problem, "use for example 0.3"));
        }
        Ok(())
    }
}

impl std::fmt::Display for NeuralCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { size, lambda, theta } = self;
        let size = crate::format::thousands(*size as u64);
        write!(f, "cache of {size} tokens, λ {}, θ {}", digits(*lambda), digits(*theta))
    }
}

/// Four significant digits.
pub(crate) fn digits(value: f64) -> String {
    format!("{value:.3e}").parse().unwrap_or(value).to_string()
}
