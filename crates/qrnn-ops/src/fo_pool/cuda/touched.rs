//! Checks which addresses a launch read and wrote.

use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::tests::{BackEnd, Checked};
use crate::cuda::host_shim::{Access, HostShim};

/// A contiguous tensor with NaN before and after it.
pub(super) struct Guarded {
    buffer: Tensor,
    size: Vec<i64>,
}

const GUARD: i64 = 1024;

impl Guarded {
    /// Filled with NaN.
    pub fn poisoned(size: &[i64], kind: Kind, device: Device) -> Self {
        let numel: i64 = size.iter().product();
        let buffer = Tensor::full([numel + 2 * GUARD], f64::NAN, (kind, device));
        Self { buffer, size: size.into() }
    }

    pub fn of(tensor: &Tensor, device: Device) -> Self {
        let guarded = Self::poisoned(&tensor.size(), tensor.kind(), device);
        guarded.inside().copy_(tensor);
        guarded
    }

    /// The tensor without its guards.
    pub fn inside(&self) -> Tensor {
        let inside = self.buffer.narrow(0, GUARD, self.buffer.numel() as i64 - 2 * GUARD);
        inside.view(&self.size[..])
    }
}

/// Checks that the last launch wrote these tensors and nothing outside them.
pub(super) fn check_written(back_end: BackEnd, written: &[&Guarded]) -> Checked {
    for guarded in written {
        let inside = guarded.inside();
        prop_assert_eq!(
            inside.isnan().any().int64_value(&[]),
            0,
            "an element was not written, or NaN was read"
        );
        let nans = guarded.buffer.isnan().to_kind(Kind::Int64).sum(None).int64_value(&[]);
        let outside = guarded.buffer.numel() - inside.numel();
        prop_assert_eq!(nans, outside as i64, "the guard was written");
    }
    let insides: Vec<Tensor> = written.iter().map(|guarded| guarded.inside()).collect();
    check_once(back_end, Access::Written, insides.iter())
}

/// Checks that the last launch accessed each element of these tensors once, and no other address. Only
/// the host shim records accesses.
pub(super) fn check_once<'a>(
    back_end: BackEnd,
    access: Access,
    tensors: impl IntoIterator<Item = &'a Tensor>,
) -> Checked {
    if back_end == BackEnd::Cuda {
        return Ok(());
    }
    let mut elements = 0;
    for tensor in tensors {
        check_once_in(tensor, access)?;
        elements += tensor.numel();
    }
    let count = HostShim::get().unwrap().address_count(access);
    prop_assert_eq!(count, elements, "{:?} outside the tensors", access);
    Ok(())
}

/// Checks that the host shim's last launch accessed each element of a tensor once.
pub(super) fn check_once_in(tensor: &Tensor, access: Access) -> Checked {
    let bytes = tensor.kind().elt_size_in_bytes();
    let (size, stride) = (tensor.size(), tensor.stride());
    for i in 0..tensor.numel() {
        let (mut rest, mut offset) = (i as i64, 0);
        for (size, stride) in size.iter().zip(&stride).rev() {
            offset += rest % size * stride;
            rest /= size;
        }
        let at = tensor.data_ptr().cast::<u8>().wrapping_add(offset as usize * bytes);
        prop_assert_eq!(
            HostShim::get().unwrap().count(at.cast(), access),
            1,
            "{:?}, element {}",
            access,
            i
        );
    }
    Ok(())
}
