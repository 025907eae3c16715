//! Chooses the back end for a device.

use std::sync::Arc;

use tch::Device;

use super::device::CudaDevice;
use super::host_shim::{self, HostShim};
use super::launch::Launch;
use crate::Result;

/// The launcher of CUDA kernels on tensors of this device; `None` for the CPU, whose kernels are in Rust.
///
/// # Errors
/// [`crate::Error::Unavailable`] if the GPU is not available.
pub fn launcher(device: Device) -> Result<Option<Arc<dyn Launch>>> {
    match device {
        Device::Cuda(ordinal) => Ok(Some(CudaDevice::of(ordinal)?)),
        _ if host_shim::is_active() => Ok(Some(HostShim::get()?)),
        _ => Ok(None),
    }
}

/// Whether tensors of this device take the GPU code path.
pub fn is_gpu(device: Device) -> bool {
    device.is_cuda() || host_shim::is_active()
}
