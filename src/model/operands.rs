//! CUDA copies of the weights for matmuls: in the precision of the matmuls, with each bias as a column of its
//! weight.

use qrnn_ops::matmul::Precision;
use tch::Tensor;

/// Copies of all weights, rounded to grids while a model is compressed. The optimizer updates them with the parameters. Other changes of a parameter are
/// detected by libtorch's version counter.
#[derive(Debug)]
pub(crate) struct Operands {
    pub precision: Precision,
    /// One per layer: (3 H and padding, augmented row).
    pub layers: Vec<Tensor>,
    /// [`qrnn_ops::split_softmax::operands`].
    pub softmax: Vec<Tensor>,
    /// Like the model's projections: [`qrnn_ops::matmul::projection_operand`] of each.
    pub projections: Vec<Option<Tensor>>,
    /// The columns appended to the first layer's input: a one for the bias, and zeros for alignment.
    pub ones: Tensor,
    /// The version counter of each parameter when it was copied.
    pub versions: Vec<i64>,
}
