//! Functions of libtorch that tch does not bind: its thread pool, its fused Adam, asynchronous copies
//! between host and device, TF32.
//!
//! The CPU kernels of this crate run on torch's threads, so that one setting (`OMP_NUM_THREADS`,
//! [`tch::set_num_threads`]) controls both and they do not compete for cores.

mod fused_adam;
mod parallel;
pub mod pinned;
pub mod search_path;
mod settings;
pub(crate) mod shim;
mod transfer;

pub use fused_adam::{AdamStep, AdamTensors, fused_adam};
pub use parallel::parallel_for;
pub use settings::{ThreadCount, allow_tf32, keep_freed_memory, set_threads, share_threads};
pub use transfer::{download, host_tensor, upload, upload_with};
