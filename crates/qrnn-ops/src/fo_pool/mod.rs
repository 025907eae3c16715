//! fo-pooling: the recurrence of a QRNN as one differentiable operation.
//!
//! With the linear map's output as z, f, o before activation (Bradbury et al. 2016, equation 4):
//!
//! ```text
//! c_t = σ(f_t) tanh(z_t) + (1 - σ(f_t)) c_{t-1}
//! h_t = σ(o_t) c_t
//! ```
//!
//! Forward and backward are one kernel each, over all time steps: in Rust on the CPU, from `kernels/`
//! on CUDA. [`forget_mult`] is the recurrence of pytorch-qrnn.

mod cpu;
mod cuda;
mod forget_mult;
mod operation;
mod options;
mod row_kernels;
mod self_test;
mod tiles;

#[cfg(test)]
pub(crate) use cuda::{FO_POOL, FORGET_MULT};
pub use forget_mult::forget_mult;
pub use operation::{fo_pool, fo_pool_features};
pub use options::{FoPoolOptions, Pooled, Zoneout};
pub(crate) use self_test::self_test;
