//! Named tensors from rank 0 to all processes.

use qrnn_ops::process_group::ProcessGroup;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// A tensor as rank 0 describes it.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    name: String,
    /// Its name in Rust.
    kind: String,
    size: Vec<i64>,
}

/// Gives a value of rank 0 to all processes; other ranks give `None`.
///
/// # Errors
/// [`Error::Ops`] if another process has ended.
pub(super) fn broadcast_value<T: Serialize + DeserializeOwned>(
    group: &ProcessGroup,
    value: Option<&T>,
) -> Result<T> {
    let encoded = serde_json::to_vec(&value).map_err(|error| not_understood(&error))?;
    let bytes = group.broadcast_bytes(&encoded)?;
    let value: Option<T> =
        serde_json::from_slice(&bytes).map_err(|error| not_understood(&error))?;
    value.ok_or_else(|| not_understood(&"nothing"))
}

/// Gives named tensors of rank 0 to all processes, on the CPU; other ranks give none.
///
/// # Errors
/// [`Error::Ops`] if another process has ended or memory runs out.
pub(super) fn broadcast_tensors(
    group: &ProcessGroup,
    tensors: Vec<(String, Tensor)>,
) -> Result<Vec<(String, Tensor)>> {
    let _no_grad = tch::no_grad_guard();
    let is_root = group.rank() == 0;
    let describe = |(name, tensor): &(String, Tensor)| Description {
        name: name.clone(),
        kind: format!("{:?}", tensor.kind()),
        size: tensor.size(),
    };
    let descriptions: Vec<_> = tensors.iter().map(describe).collect();
    let descriptions = broadcast_value(group, is_root.then_some(&descriptions))?;
    let mut own = tensors.into_iter();
    let mut received = vec![];
    for Description { name, kind, size } in descriptions {
        let tensor = match own.next() {
            Some((_, tensor)) => tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?,
            None => {
                let kind = kind_of(&kind).ok_or_else(|| not_understood(&format!("kind {kind}")))?;
                Tensor::f_empty(&size[..], (kind, Device::Cpu))?
            }
        };
        group.broadcast(&[&tensor])?;
        received.push((name, tensor));
    }
    Ok(received)
}

/// The kind of this name, of those that checkpoints have.
fn kind_of(name: &str) -> Option<Kind> {
    let kinds = [
        Kind::Float,
        Kind::Double,
        Kind::BFloat16,
        Kind::Int64,
        Kind::Int,
        Kind::Uint8,
        Kind::Int8,
    ];
    kinds.into_iter().find(|kind| format!("{kind:?}") == name)
}

fn not_understood(problem: &dyn std::fmt::Display) -> Error {
    Error::mismatch(
        "rank 0 of the group",
        format!("sent what this process does not understand ({problem})"),
        "start the same program on all machines",
    )
}
