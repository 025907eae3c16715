//! Copies of the weights in the form that the matrix products of a GPU read: rounded to their precision, with
//! each bias as a column of its weight.

use qrnn_ops::matmul::Precision;
use tch::Tensor;

/// Copies of all weights. The optimizer writes them together with the parameters; whoever changes
/// parameters in another way is found out by libtorch's count of changes to a tensor.
#[derive(Debug)]
pub(crate) struct Operands {
    pub precision: Precision,
    /// Of each layer: (3 H, augmented row).
    pub layers: Vec<Tensor>,
    /// (tombstones and words, augmented row).
    pub softmax: Tensor,
    /// What is behind the first layer's input.
    pub ones: Tensor,
    /// How often each parameter had been changed through libtorch when it was copied.
    pub versions: Vec<i64>,
}
