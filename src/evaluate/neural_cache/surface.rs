//! Perplexity as a function of λ and θ.

use serde::Serialize;

use super::mixture::{best_lambda, gain};

/// The λ at which a search shows the perplexity.
pub const LAMBDAS: [f64; 9] = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8];

/// The perplexity of the validation text at one θ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchedTheta {
    /// Factor of the inner products.
    pub theta: f64,
    /// Perplexity at each of [`LAMBDAS`].
    pub ppl: [f64; LAMBDAS.len()],
    /// The best λ at this θ.
    pub best_lambda: f64,
    /// Perplexity at the best λ.
    pub best_ppl: f64,
}

impl SearchedTheta {
    /// * `plain_loss`: of the model alone, in nats per token;
    /// * `advantages`: of the cache at this θ, one per token.
    pub(super) fn new(theta: f64, plain_loss: f64, advantages: &[f64]) -> Self {
        let ppl = |lambda: f64| {
            let gains: f64 = advantages.iter().map(|advantage| gain(*advantage, lambda)).sum();
            (plain_loss - gains / advantages.len() as f64).exp()
        };
        let best_lambda = best_lambda(advantages);
        Self { theta, ppl: LAMBDAS.map(ppl), best_lambda, best_ppl: ppl(best_lambda) }
    }
}
