//! The state of Adam.

use qrnn_ops::libtorch::AdamStep;
use tch::Tensor;

use super::recipe::Recipe;

/// State of Adam for one parameter.
#[derive(Debug)]
pub struct Moments {
    pub(super) first: Tensor,
    pub(super) second: Tensor,
    /// Number of steps: a scalar of kind Float, as libtorch's kernel requires. On a GPU all parameters
    /// share it.
    pub(super) step: Tensor,
}

/// The settings of a step at a rate.
pub(super) fn adam_settings(recipe: &Recipe, lr: f64) -> AdamStep {
    AdamStep { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: recipe.wdecay }
}
