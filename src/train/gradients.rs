//! The gradients of a step, and which of them count.

use tch::Tensor;

/// The gradients of a step.
#[derive(Debug, Clone, Copy)]
pub struct Gradients<'a> {
    /// One per parameter of the model, in order.
    pub all: &'a [Tensor],
    /// For each parameter, 0 where the gradient counts as 0, of kind Uint8; `None` for a parameter without zeros. Empty
    /// if no parameter has any.
    pub masks: &'a [Option<Tensor>],
}
