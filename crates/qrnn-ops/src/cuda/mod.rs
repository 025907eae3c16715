//! CUDA kernels of our own on libtorch's tensors, with nothing of CUDA at build time.
//!
//! One program serves machines with and without a GPU. It is linked against libtorch's CPU part;
//! where there is an NVIDIA driver, the CUDA part is loaded as the process starts (see
//! [`libraries`]). A kernel's source is part of the program: NVRTC compiles it for the GPU at hand
//! the first time it is wanted, and the image is kept in the user's cache folder. Kernels run on
//! libtorch's current stream, so that they take their place among its own.

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

pub use clock::{Clock, Mark};
pub use compare::{assert_close, test_pattern};
pub use compiler::{Compiler, Target};
pub use device::CudaDevice;
pub use dispatch::{is_gpu, launcher};
pub use driver::Driver;
pub use launch::{Argument, Geometry, Kernel, Launch, Source};
