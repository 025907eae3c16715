//! Weights as a compressed model stores them: a mask of the non-zeros, their codes, scales and codebooks.
//!
//! - integers of 2 to 8 bits, packed without gaps (`bits`)
//! - integer grids and codebooks (`grid`, `codebook`)
//! - one tensor ([`PackedTensor`]), which knows how many bits it takes
//! - the file of all tensors ([`PackedFile`])

mod bits;
mod blocks;
mod codebook;
mod file;
mod grid;
mod matrix;
mod quantizer;
mod stored;
mod tensor;
mod tensor_size;
mod validation;

pub use file::{FORMAT, PackedFile};
pub use grid::{Encoding, Grid, MAX_BITS, MIN_BITS, ScalePer};
pub use quantizer::Quantizer;
pub use stored::StoredTensor;
pub use tensor::PackedTensor;
pub use tensor_size::TensorSize;
pub(crate) use tensor_size::zeros_of;
