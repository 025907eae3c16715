//! Checks the entries of a file before they are used: sizes, padding, scales, codes.

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::bits::{padding_is_zero, unpack, unpack_unsigned};
use super::grid::{MAX_BITS, MIN_BITS};
use super::stored::StoredTensor;
use super::tensor::PackedTensor;

/// The description of a packed tensor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    pub shape: Vec<usize>,
    pub bits: u32,
    #[serde(default = "single_elements")]
    pub block: usize,
}

fn single_elements() -> usize {
    1
}

/// Type, shape and bytes of an entry.
type Entry = (Dtype, Vec<usize>, Vec<u8>);

/// Puts tensors together from their entries.
///
/// # Errors
/// What is wrong, naming the tensor.
pub(super) fn tensors(
    mut entries: BTreeMap<String, Entry>,
    descriptions: BTreeMap<String, Description>,
) -> Result<BTreeMap<String, StoredTensor>, String> {
    let mut tensors = BTreeMap::new();
    for (name, description) in descriptions {
        let tensor = packed(&name, description, &mut entries)?;
        tensors.insert(name, StoredTensor::Packed(tensor));
    }
    for (name, (dtype, shape, bytes)) in entries {
        if dtype != Dtype::F32 {
            return Err(format!(
                "tensor {name} holds {dtype:?}, but belongs to no compressed tensor"
            ));
        }
        let values = floats(&name, &bytes)?;
        if tensors.insert(name.clone(), StoredTensor::Float { shape, values }).is_some() {
            return Err(format!("tensor {name} is there twice: compressed and not"));
        }
    }
    Ok(tensors)
}

fn packed(
    name: &str,
    description: Description,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<PackedTensor, String> {
    let Description { shape, bits, block } = description;
    if !(MIN_BITS..=MAX_BITS).contains(&bits) {
        return Err(format!("tensor {name} has {bits} bits, not {MIN_BITS} to {MAX_BITS}"));
    }
    let elements = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    let elements = elements.filter(|&n| n > 0 && n < isize::MAX as usize / 8);
    if block == 0 || !matches!(shape.len(), 1 | 2) || elements.is_none() {
        return Err(format!("tensor {name} has shape {shape:?} in blocks of {block}"));
    }
    let mut take = |what: &str, dtype: Dtype| match entries.remove(&format!("{name}.{what}")) {
        None => Ok(None),
        Some((found, ..)) if found != dtype => {
            Err(format!("tensor {name}.{what} holds {found:?}, not {dtype:?}"))
        }
        Some((_, _, bytes)) => Ok(Some(bytes)),
    };
    let (codes, scale) = (take("codes", Dtype::U8)?, take("scale", Dtype::F32)?);
    let (mask, book) = (take("mask", Dtype::U8)?, take("book", Dtype::I8)?);
    let codes = codes.ok_or_else(|| format!("has no tensor {name}.codes"))?;
    let scale = scale.ok_or_else(|| format!("has no tensor {name}.scale"))?;
    let book = book.map(|book| book.iter().map(|&entry| entry as i8).collect());
    let scales = floats(&format!("{name}.scale"), &scale)?;
    let tensor = PackedTensor { shape, bits, block, mask, codes, scales, book };
    check(name, &tensor)?;
    Ok(tensor)
}

fn check(name: &str, tensor: &PackedTensor) -> Result<(), String> {
    let (rows, _) = tensor.size2();
    let scales = &tensor.scales;
    if scales.len() != 1 && (scales.len() != rows || tensor.shape.len() == 1) {
        return Err(format!("tensor {name}.scale has {} numbers, not 1 or {rows}", scales.len()));
    }
    if let Some(scale) = scales.iter().find(|&&scale| !(scale > 0.0 && scale.is_finite())) {
        return Err(format!("tensor {name}.scale holds {scale}: scales are positive"));
    }
    if let Some(mask) = &tensor.mask {
        let blocks = tensor.blocks().count();
        if mask.len() != blocks.div_ceil(8) || !padding_is_zero(mask, blocks) {
            return Err(format!("tensor {name}.mask is not a mask of {blocks} bits"));
        }
    }
    let (stored, bits) = (tensor.stored(), tensor.bits);
    if tensor.codes.len() != tensor.code_bytes()
        || !padding_is_zero(&tensor.codes, stored * bits as usize)
    {
        return Err(format!(
            "tensor {name}.codes has {} bytes, not the {} of {stored} codes of {bits} bits",
            tensor.codes.len(),
            tensor.code_bytes()
        ));
    }
    // In a mask of single elements, all that is stored differs from 0.
    let stores_zeros = tensor.mask.is_none() || tensor.block > 1;
    let lowest = -(1i32 << (bits - 1));
    let bad = match &tensor.book {
        Some(book) => {
            if book.len() != 1 << bits {
                return Err(format!(
                    "tensor {name}.book has {} entries, not {}",
                    book.len(),
                    1 << bits
                ));
            }
            if book.contains(&i8::MIN) {
                return Err(format!("tensor {name}.book holds -128: entries are -127 to 127"));
            }
            let mut indices = unpack_unsigned(&tensor.codes, bits, stored);
            indices.find(|&index| !stores_zeros && book[usize::from(index)] == 0).map(|_| 0)
        }
        None => unpack(&tensor.codes, bits, stored)
            .map(i32::from)
            .find(|&code| code == lowest || (!stores_zeros && code == 0)),
    };
    match bad {
        None => Ok(()),
        Some(0) => Err(format!("tensor {name}.codes holds a 0 that the mask says is not 0")),
        Some(code) => {
            Err(format!("tensor {name}.codes holds {code}, which is below -{}", -lowest - 1))
        }
    }
}

fn floats(name: &str, bytes: &[u8]) -> Result<Vec<f32>, String> {
    let values: Vec<f32> =
        bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(values),
        Some(value) => Err(format!("tensor {name} holds {value}")),
    }
}
