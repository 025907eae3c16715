//! The inputs of a training step, besides weights and state.

use qrnn_ops::split_softmax::Targets;
use tch::Tensor;

use crate::model::DropoutMasks;

/// On the model's device.
pub(super) struct StepInputs {
    /// Learning rate.
    pub rate: f64,
    /// Token ids, (seq, batch).
    pub tokens: Tensor,
    pub targets: Targets,
    pub masks: DropoutMasks,
}
