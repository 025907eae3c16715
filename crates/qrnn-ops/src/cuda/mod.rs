//! CUDA kernels on libtorch's tensors, without CUDA at build time.
//!
//! A program links libtorch's CPU library and runs with and without a GPU. If there is an NVIDIA driver,
//! libtorch's CUDA library is loaded when the process starts (see [`libraries`]). NVRTC compiles a kernel's
//! source for the GPU at first use; the image is cached in the user's cache folder. Kernels run on
//! libtorch's current stream.

mod clock;
pub(crate) mod compare;
mod compiler;
mod device;
mod dispatch;
mod driver;
pub(crate) mod headers;
pub mod host_shim;
mod image_cache;
mod launch;
pub mod libraries;

pub use clock::{Clock, Timestamp};
pub use compare::{assert_close, test_pattern};
pub use compiler::{Compiler, Target};
pub use device::CudaDevice;
pub use dispatch::{is_gpu, launcher};
pub use driver::Driver;
pub use launch::{Argument, Geometry, Kernel, Launch, Source};
