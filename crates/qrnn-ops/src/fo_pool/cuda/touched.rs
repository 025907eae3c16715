//! Which places a launch read and wrote.

use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::tests::{Checked, Place};
use crate::cuda::host_shim::{Access, HostShim};

/// A tensor between two stretches of NaN, and with NaN behind each of its rows where they are padded.
pub(super) struct Guarded {
    all: Tensor,
    size: Vec<i64>,
    /// From one row, along the last dimension, to the next.
    row: i64,
}

const GUARD: i64 = 1024;

impl Guarded {
    pub fn poisoned(size: &[i64], kind: Kind, device: Device) -> Self {
        Self::poisoned_in_rows(size, size[size.len() - 1], (kind, device))
    }

    pub fn poisoned_in_rows(size: &[i64], row: i64, options: (Kind, Device)) -> Self {
        let rows: i64 = size[..size.len() - 1].iter().product();
        let all = Tensor::full([rows * row + 2 * GUARD], f64::NAN, options);
        Self { all, size: size.into(), row }
    }

    pub fn of(tensor: &Tensor, device: Device) -> Self {
        Self::in_rows(tensor, tensor.size()[tensor.dim() - 1], device)
    }

    pub fn in_rows(tensor: &Tensor, row: i64, device: Device) -> Self {
        let guarded = Self::poisoned_in_rows(&tensor.size(), row, (tensor.kind(), device));
        guarded.inside().copy_(tensor);
        guarded
    }

    pub fn inside(&self) -> Tensor {
        let (last, mut size) = (self.size.len() - 1, self.size.clone());
        size[last] = self.row;
        let rows = self.all.narrow(0, GUARD, self.all.numel() as i64 - 2 * GUARD);
        rows.view(&size[..]).narrow(-1, 0, self.size[last])
    }
}

/// The last launch wrote these tensors, and nothing beside them.
pub(super) fn check_written(place: Place, written: &[&Guarded]) -> Checked {
    for guarded in written {
        let inside = guarded.inside();
        prop_assert_eq!(inside.isnan().any().int64_value(&[]), 0, "NaN is left or was used");
        let nans = guarded.all.isnan().to_kind(Kind::Int64).sum(None).int64_value(&[]);
        let offset_by = guarded.all.numel() - inside.numel();
        prop_assert_eq!(nans, offset_by as i64, "a place beside was written");
    }
    let insides: Vec<Tensor> = written.iter().map(|guarded| guarded.inside()).collect();
    check_once(place, Access::Written, insides.iter())
}

/// The last launch did this once to each place of these tensors, and to no other; only the host shim
/// can tell.
pub(super) fn check_once<'a>(
    place: Place,
    access: Access,
    tensors: impl IntoIterator<Item = &'a Tensor>,
) -> Checked {
    if place == Place::Cuda {
        return Ok(());
    }
    let mut places = 0;
    for tensor in tensors {
        check_once_in(tensor, access)?;
        places += tensor.numel();
    }
    prop_assert_eq!(HostShim::get().unwrap().places(access), places, "{:?} beside", access);
    Ok(())
}

/// The host shim's last launch did this once to each place of a tensor.
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
            "{:?}, place {}",
            access,
            i
        );
    }
    Ok(())
}
