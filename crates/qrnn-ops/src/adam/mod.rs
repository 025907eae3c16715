//! Adam on a GPU by `kernels/adam.cu`: gradient norm, clipping, update, and copies of the
//! parameters for the next step's matrix products, in two launches over all tensors.

mod self_test;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod update;

pub use self_test::self_test;
pub use step::{BAD_GRADIENT, adam_step};
pub use update::{AdamUpdate, CopyRounding};
