//! Copies between host and device through pinned memory.

use std::ffi::c_char;

use tch::kind::Element;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::shim::check;
use crate::Result;

unsafe extern "C" {
    fn qrnn_pinned_empty(
        sizes: *const i64,
        dims: usize,
        like: *const C_tensor,
        tensor: *mut *mut C_tensor,
    ) -> *mut c_char;

    fn qrnn_copy_and_wait(to: *const C_tensor, from: *const C_tensor) -> *mut c_char;
}

/// An uninitialized tensor on the CPU. For a GPU it is in pinned memory of libtorch's pool, which
/// reuses it after the copies that read it.
///
/// # Errors
/// [`crate::Error::Torch`] if memory runs out.
pub fn host_tensor(size: &[i64], kind: Kind, device: Device) -> Result<Tensor> {
    if !device.is_cuda() {
        return Ok(Tensor::f_empty(size, (kind, Device::Cpu))?);
    }
    let like = Tensor::f_empty([0], (kind, Device::Cpu))?;
    let mut tensor = std::ptr::null_mut();
    // SAFETY: reads `size` and a live tensor; writes one pointer to a new tensor or returns a message.
    unsafe {
        check(qrnn_pinned_empty(size.as_ptr(), size.len(), like.as_ptr(), &mut tensor))?;
        Ok(Tensor::from_ptr(tensor))
    }
}

/// A tensor (n) on a device with the elements that `fill` writes. The copy to a GPU is
/// asynchronous, on the current stream.
///
/// # Errors
/// [`crate::Error::Torch`] if memory runs out.
pub fn upload_with<T: Element + Copy>(
    n: usize,
    device: Device,
    fill: impl FnOnce(&mut [T]),
) -> Result<Tensor> {
    let host = host_tensor(&[n as i64], T::KIND, device)?;
    let elements = match n {
        // Such a tensor may have a null pointer.
        0 => &mut [],
        // SAFETY: a new contiguous tensor of n elements of this kind, which nothing else refers to. Each
        // element is written before the slice is created.
        _ => unsafe {
            let start = host.data_ptr().cast::<T>();
            (0..n).for_each(|i| start.add(i).write(T::ZERO));
            std::slice::from_raw_parts_mut(start, n)
        },
    };
    fill(elements);
    Ok(host.f_to_device_(device, T::KIND, device.is_cuda(), false)?)
}

/// A slice as a tensor (n) on a device. The copy to a GPU is asynchronous, on the current stream.
///
/// # Errors
/// [`crate::Error::Torch`] if memory runs out.
pub fn upload<T: Element + Copy>(elements: &[T], device: Device) -> Result<Tensor> {
    upload_with(elements.len(), device, |buffer| buffer.copy_from_slice(elements))
}

/// The elements of a tensor in row-major order. Synchronizes with a GPU.
///
/// # Errors
/// [`crate::Error::Torch`] if memory runs out, or the device's work failed.
pub fn download(tensor: &Tensor) -> Result<Vec<f64>> {
    let host = host_tensor(&tensor.size(), tensor.kind(), tensor.device())?;
    // SAFETY: two live tensors of one size and kind; returns a message allocated by malloc.
    unsafe { check(qrnn_copy_and_wait(host.as_ptr(), tensor.as_ptr()))? };
    Ok(Vec::try_from(host.f_to_kind(Kind::Double)?.f_view(-1)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_returns_the_uploaded_elements() {
        let uploaded = upload(&[3i32, -1, 7], Device::Cpu).unwrap();
        assert_eq!((uploaded.kind(), uploaded.size()), (Kind::Int, vec![3]));
        assert_eq!(download(&uploaded).unwrap(), [3.0, -1.0, 7.0]);
        let empty: [f32; 0] = [];
        assert_eq!(download(&upload(&empty, Device::Cpu).unwrap()).unwrap(), [0.0; 0]);
        // A view that is not contiguous.
        let matrix = upload(&[1.0f32, 2.0, 3.0, 4.0], Device::Cpu).unwrap().view([2, 2]);
        assert_eq!(download(&matrix.tr()).unwrap(), [1.0, 3.0, 2.0, 4.0]);
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_a_download_returns_the_uploaded_elements() {
        let device = crate::device::cuda().unwrap();
        for round in 0..100 {
            let elements: Vec<f32> = (0..10_000).map(|i| (i * 7 + round) as f32).collect();
            let uploaded = upload(&elements, device).unwrap();
            let back = download(&(uploaded * 2.0)).unwrap();
            assert!(back.iter().zip(&elements).all(|(a, b)| *a == 2.0 * f64::from(*b)));
        }
    }
}
