//! Copies between host and device that neither wait nor go through pageable memory.

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

/// An uninitialized tensor on the CPU. For a GPU it lies in page-locked memory of libtorch's pool:
/// freed, it is used again once the copies that read it are done.
///
/// # Errors
/// [`crate::Error::Torch`] where memory runs out.
pub fn host_tensor(size: &[i64], kind: Kind, device: Device) -> Result<Tensor> {
    if !device.is_cuda() {
        return Ok(Tensor::f_empty(size, (kind, Device::Cpu))?);
    }
    let of_kind = Tensor::f_empty([0], (kind, Device::Cpu))?;
    let mut tensor = std::ptr::null_mut();
    // SAFETY: `size` and a live tensor are read during the call, which writes one pointer to a new
    // tensor or answers with a message.
    unsafe {
        check(qrnn_pinned_empty(size.as_ptr(), size.len(), of_kind.as_ptr(), &mut tensor))?;
        Ok(Tensor::from_ptr(tensor))
    }
}

/// `n` numbers, which `fill` writes, as a tensor on a device. The copy to a GPU takes its place in
/// the current stream; nothing waits for it.
///
/// # Errors
/// [`crate::Error::Torch`] where memory runs out.
pub fn upload_with<T: Element + Copy>(
    n: usize,
    device: Device,
    fill: impl FnOnce(&mut [T]),
) -> Result<Tensor> {
    let host = host_tensor(&[n as i64], T::KIND, device)?;
    // SAFETY: a new contiguous tensor of n numbers of this kind, which nothing else refers to.
    // Each number is written before the slice is made of it.
    let numbers = unsafe {
        let start = host.data_ptr().cast::<T>();
        (0..n).for_each(|i| start.add(i).write(T::ZERO));
        std::slice::from_raw_parts_mut(start, n)
    };
    fill(numbers);
    Ok(host.f_to_device_(device, T::KIND, device.is_cuda(), false)?)
}

/// Numbers of the host as a tensor on a device, as [`upload_with`].
///
/// # Errors
/// [`crate::Error::Torch`] where memory runs out.
pub fn upload<T: Element + Copy>(numbers: &[T], device: Device) -> Result<Tensor> {
    upload_with(numbers.len(), device, |to| to.copy_from_slice(numbers))
}

/// The numbers of a tensor, row by row. From a GPU this waits once, for the work given so far.
///
/// # Errors
/// [`crate::Error::Torch`] where memory runs out, or the device's work failed.
pub fn download(tensor: &Tensor) -> Result<Vec<f64>> {
    let host = host_tensor(&tensor.size(), tensor.kind(), tensor.device())?;
    // SAFETY: two live tensors of one size and kind; the answer is a message made by malloc.
    unsafe { check(qrnn_copy_and_wait(host.as_ptr(), tensor.as_ptr()))? };
    Ok(Vec::try_from(host.f_to_kind(Kind::Double)?.f_view(-1)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_there_and_come_back() {
        let there = upload(&[3i32, -1, 7], Device::Cpu).unwrap();
        assert_eq!((there.kind(), there.size()), (Kind::Int, vec![3]));
        assert_eq!(download(&there).unwrap(), [3.0, -1.0, 7.0]);
        let none: [f32; 0] = [];
        assert_eq!(download(&upload(&none, Device::Cpu).unwrap()).unwrap(), [0.0; 0]);
        // A view whose numbers do not lie side by side.
        let matrix = upload(&[1.0f32, 2.0, 3.0, 4.0], Device::Cpu).unwrap().view([2, 2]);
        assert_eq!(download(&matrix.tr()).unwrap(), [1.0, 3.0, 2.0, 4.0]);
    }

    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_gpu_numbers_go_there_and_come_back() {
        let device = crate::device::cuda().unwrap();
        for round in 0..100 {
            let numbers: Vec<f32> = (0..10_000).map(|i| (i * 7 + round) as f32).collect();
            let there = upload(&numbers, device).unwrap();
            let back = download(&(there * 2.0)).unwrap();
            assert!(back.iter().zip(&numbers).all(|(a, b)| *a == 2.0 * f64::from(*b)));
        }
    }
}
