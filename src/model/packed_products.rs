//! The products of a compressed model, computed from its stored integers.
//!
//! A model whose weights and inputs of products are integers times scales needs no product in floating point: sums of
//! integers are exact, and are multiplied by their scales once. This reads the weights as they are stored, a fraction of
//! the bytes of the decoded ones. Everything between products stays in single precision.

use std::cell::OnceCell;
use std::sync::Arc;

use qrnn_ops::matmul::PackedLinear;
use qrnn_ops::split_softmax::PackedSoftmax;

/// All products of a model.
#[derive(Debug)]
pub(super) struct PackedProducts {
    pub layers: Vec<PackedLinear>,
    /// Like the model's projections: Pᵀ h of hidden states h.
    pub projections: Vec<Option<PackedLinear>>,
    pub softmax: PackedSoftmax,
}

/// Whether a model computes its products from stored integers, and these once they are needed.
#[derive(Debug, Clone)]
pub(super) struct PackedRoute {
    pub enabled: bool,
    /// `None` inside if the tensors are not all integers.
    pub products: OnceCell<Option<Arc<PackedProducts>>>,
}

impl Default for PackedRoute {
    fn default() -> Self {
        Self { enabled: true, products: OnceCell::new() }
    }
}
