//! Which places a launch read and wrote.

use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::tests::{Checked, Place};
use crate::cuda::host::{Access, Host};

/// A tensor between two stretches of NaN.
pub(super) struct Guarded {
    all: Tensor,
    size: Vec<i64>,
}

const GUARD: i64 = 1024;

impl Guarded {
    pub fn poisoned(size: &[i64], kind: Kind, device: Device) -> Self {
        let n: i64 = size.iter().product();
        let all = Tensor::full([n + 2 * GUARD], f64::NAN, (kind, device));
        Self { all, size: size.into() }
    }

    pub fn of(tensor: &Tensor, device: Device) -> Self {
        let guarded = Self::poisoned(&tensor.size(), tensor.kind(), device);
        guarded.inside().copy_(tensor);
        guarded
    }

    pub fn inside(&self) -> Tensor {
        self.all.narrow(0, GUARD, self.all.numel() as i64 - 2 * GUARD).view(&self.size[..])
    }
}

/// The last launch wrote these tensors, and nothing beside them.
pub(super) fn check_written(place: Place, written: &[&Guarded]) -> Checked {
    for guarded in written {
        let inside = guarded.inside();
        prop_assert_eq!(inside.isnan().any().int64_value(&[]), 0, "NaN is left or was used");
        let nans = guarded.all.isnan().to_kind(Kind::Int64).sum(None).int64_value(&[]);
        prop_assert_eq!(nans, 2 * GUARD, "a place beside was written");
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
    if place == Place::Card {
        return Ok(());
    }
    let mut places = 0;
    for tensor in tensors {
        check_once_in(tensor, access)?;
        places += tensor.numel();
    }
    prop_assert_eq!(Host::get().places(access), places, "{:?} beside", access);
    Ok(())
}

/// The host shim's last launch did this once to each place of a contiguous tensor.
pub(super) fn check_once_in(tensor: &Tensor, access: Access) -> Checked {
    let bytes = tensor.kind().elt_size_in_bytes();
    for i in 0..tensor.numel() {
        let at = tensor.data_ptr().cast::<u8>().wrapping_add(i * bytes);
        prop_assert_eq!(Host::get().count(at.cast(), access), 1, "{:?}, place {}", access, i);
    }
    Ok(())
}
