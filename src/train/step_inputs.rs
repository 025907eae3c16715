//! The inputs of a training step, besides weights and state.

use qrnn_ops::split_softmax::Targets;
use tch::Tensor;

use crate::model::DropoutMasks;

/// On the model's device.
pub(super) struct StepInputs {
    /// Learning rate.
    pub rate: f64,
    pub tokens: TokenIds,
    pub targets: Targets,
    pub masks: DropoutMasks,
}

/// The token ids that a step reads.
pub(super) struct TokenIds {
    /// Those of this process's columns, (seq, columns).
    pub own: Tensor,
    /// Those of all columns, (seq, batch), where gradients of the embedding are gathered from all processes.
    pub batch: Option<Tensor>,
    /// Number of tokens of all columns.
    pub of_batch: usize,
}
