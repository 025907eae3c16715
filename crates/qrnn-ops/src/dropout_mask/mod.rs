//! Dropout and zoneout masks from a counter-based random stream: the same values on CPU and CUDA.

mod bernoulli;
mod cuda;
mod sampler;
mod self_test;
mod word_rows;

pub use bernoulli::Bernoulli;
#[cfg(test)]
pub(crate) use cuda::DROPOUT_MASK;
pub use sampler::MaskSampler;
pub(crate) use self_test::self_test;
