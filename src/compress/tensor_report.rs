//! The tensors of a compressed file, for people.

use serde::{Deserialize, Serialize};

use crate::format::{aligned, megabytes, percent, thousands};
use crate::packed::PackedFile;

/// A tensor of a compressed model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorReport {
    pub name: String,
    pub shape: Vec<usize>,
    /// Weights that are not 0.
    pub nonzeros: u64,
    /// Bits of a stored weight: 32 in floating point.
    pub bits: u32,
    /// Number of scales.
    pub scales: u64,
    /// Bits of the tensor in the file, with its mask, scales and codebook.
    pub stored_bits: u64,
    /// What the tensor adds to the score of the model: its storage, the products with it and their sums. `None` if it was
    /// not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl TensorReport {
    /// Each tensor of a file, by name.
    pub fn of_file(file: &PackedFile) -> Vec<Self> {
        let report = |(name, tensor): (&String, &crate::packed::StoredTensor)| {
            let size = tensor.size();
            Self {
                name: name.clone(),
                shape: tensor.shape().to_vec(),
                nonzeros: if size.is_float() { size.elements() } else { size.nonzeros } as u64,
                bits: size.code_bits,
                scales: size.scales as u64,
                stored_bits: size.storage_bits() as u64,
                score: None,
            }
        };
        file.tensors.iter().map(report).collect()
    }

    /// Number of weights, zeros included.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&n| n as u64).product()
    }

    /// The headings and the cells of each tensor.
    pub fn cells(tensors: &[Self]) -> Vec<Vec<String>> {
        let headings = ["tensor", "shape", "non-zeros", "zeros", "bits", "stored"];
        let row = |tensor: &Self| {
            vec![
                tensor.name.clone(),
                tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × "),
                thousands(tensor.nonzeros),
                zeros(tensor.nonzeros, tensor.elements()),
                tensor.bits.to_string(),
                megabytes(tensor.stored_bits.div_ceil(8)),
            ]
        };
        let headings = headings.map(String::from).to_vec();
        [headings].into_iter().chain(tensors.iter().map(row)).collect()
    }
}

/// The fraction of zeros as text.
pub(crate) fn zeros(nonzeros: u64, elements: u64) -> String {
    percent(1.0 - nonzeros as f64 / elements.max(1) as f64)
}

/// The tensors of a file as a table, and what they take together.
pub fn describe(file: &PackedFile) -> String {
    let table = aligned(&TensorReport::cells(&TensorReport::of_file(file)));
    format!("{table}{} stored", megabytes(file.storage_bits().div_ceil(8) as u64))
}
