//! One training step: what it reads, and what it does.

use tch::Tensor;

use super::recipe::Recipe;
use crate::Result;
use crate::model::DropoutMasks;
use qrnn_ops::split_softmax::Targets;

/// What a step reads beside weights and state.
pub(super) struct StepInputs {
    /// Learning rate.
    pub rate: f64,
    /// Token ids, (seq, batch).
    pub tokens: Tensor,
    pub targets: Targets,
    pub masks: DropoutMasks,
}

/// The loss with the original's two regularizers: alpha times the mean square of the dropped
/// output, beta times the mean square of the raw output's differences in time.
pub(super) fn regularized(
    loss: &Tensor,
    raw: &Tensor,
    output: &Tensor,
    recipe: &Recipe,
) -> Result<Tensor> {
    let mean_square = |x: &Tensor| x.f_square()?.f_mean(None::<tch::Kind>);
    let mut objective = loss.shallow_clone();
    if recipe.alpha > 0.0 {
        objective = objective.f_add(&mean_square(output)?.f_mul_scalar(recipe.alpha)?)?;
    }
    let seq = raw.size()[0];
    if recipe.beta > 0.0 && seq > 1 {
        let difference = raw.f_narrow(0, 1, seq - 1)?.f_sub(&raw.f_narrow(0, 0, seq - 1)?)?;
        objective = objective.f_add(&mean_square(&difference)?.f_mul_scalar(recipe.beta)?)?;
    }
    Ok(objective)
}
