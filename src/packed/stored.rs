//! A tensor of a compressed file.

use super::tensor::PackedTensor;
use super::tensor_size::TensorSize;

/// A tensor of a compressed file.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredTensor {
    Packed(PackedTensor),
    /// In floating point, for example the biases of the layers.
    Float {
        shape: Vec<usize>,
        values: Vec<f32>,
    },
}

impl StoredTensor {
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Packed(tensor) => tensor.shape(),
            Self::Float { shape, .. } => shape,
        }
    }

    /// The values that the model computes with, row by row.
    pub fn decode(&self) -> Vec<f32> {
        match self {
            Self::Packed(tensor) => tensor.decode(),
            Self::Float { values, .. } => values.clone(),
        }
    }

    /// What counting needs to know.
    pub fn size(&self) -> TensorSize {
        match self {
            Self::Packed(tensor) => tensor.size(),
            Self::Float { shape, .. } => TensorSize::float(shape),
        }
    }
}
