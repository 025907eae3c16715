//! Matrix products and linear maps: on the CPU by the crate `gemm-f32` or by torch, on CUDA by cuBLAS.

mod cpu;
mod cublas;
mod features;
mod linear;
mod multiply;
mod packed_linear;
mod precision;
mod project;
mod self_test;
mod torch;

pub use features::{
    Features, aligned, augmented_row, augmented_weight, one_and_zeros, write_augmented,
};
pub use linear::{linear, linear_of_features};
pub use packed_linear::PackedLinear;
pub use precision::Precision;
pub use project::{matrix_of, project, projection_operand, write_projection};
pub(crate) use self_test::self_test;
pub use torch::Addend;
