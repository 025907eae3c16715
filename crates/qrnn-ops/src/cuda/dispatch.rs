//! Which back end computes on tensors of a device.

use std::sync::Arc;

use tch::Device;

use super::device::CudaDevice;
use super::host_shim::{self, HostShim};
use super::launch::Launch;
use crate::Result;

/// What launches our kernels on tensors of this device: its card, or nothing for the CPU, whose
/// kernels are Rust's.
///
/// # Errors
/// [`crate::Error::Unavailable`] where the card cannot be had.
pub fn launcher(device: Device) -> Result<Option<Arc<dyn Launch>>> {
    match device {
        Device::Cuda(ordinal) => Ok(Some(CudaDevice::of(ordinal)?)),
        _ if host_shim::is_active() => Ok(Some(HostShim::get()?)),
        _ => Ok(None),
    }
}

/// Whether tensors of this device are computed with as on a GPU.
pub fn is_gpu(device: Device) -> bool {
    device.is_cuda() || host_shim::is_active()
}
