//! Matrix products on a card: cuBLAS, by way of libtorch.

use tch::{Kind, Tensor};

use super::{Added, Products, by_torch};
use crate::libtorch::allow_tf32;
use crate::{Result, profile};

/// Numbers of bf16 in 16 bytes: rows that begin at a multiple of these are read whole. The widths of
/// the entry are not (emsize 300, head of 2,803 classes, vocabulary of 267,735).
const ALIGNED: i64 = 8;

/// out = a b + added, as [`Products::multiply`]. In bf16, `out` is of kind BFloat16 or Float.
pub(super) fn multiply(
    products: Products,
    out: &Tensor,
    a: &Tensor,
    b: &Tensor,
    added: Added<'_>,
) -> Result<()> {
    allow_tf32(products == Products::Tf32)?;
    if products != Products::Bf16 {
        return by_torch(out, a, b, added);
    }
    let (a, b) = (a.f_to_kind(Kind::BFloat16)?, b.f_to_kind(Kind::BFloat16)?);
    let bias = match added {
        Added::Bias(bias) => Some(bias.f_to_kind(out.kind())?),
        _ => None,
    };
    let added = bias.as_ref().map_or(added, Added::Bias);
    if out.kind() != Kind::Float {
        return by_torch(out, &a, &b, added);
    }
    // Sums that were never rounded to bf16.
    let _ = match added {
        Added::Nothing => a.f_mm_dtype_out(out, &b, Kind::Float)?,
        Added::Itself => out.f_addmm_dtype_out(out, &a, &b, Kind::Float)?,
        Added::Bias(bias) => bias.f_addmm_dtype_out(out, &a, &b, Kind::Float)?,
    };
    Ok(())
}

/// Whether each row begins at a multiple of 16 bytes, given that the first does.
pub(super) fn is_aligned(matrix: &Tensor) -> bool {
    matrix.stride().first().is_some_and(|stride| stride % ALIGNED == 0)
}

/// A copy in another kind whose rows begin at multiples of 16 bytes.
pub(super) fn aligned(matrix: &Tensor, kind: Kind) -> Result<Tensor> {
    let (rows, columns) = matrix.size2()?;
    let width = (columns as u64).next_multiple_of(ALIGNED as u64) as i64;
    let room = Tensor::f_empty([rows, width], (kind, matrix.device()))?;
    let mut copy = room.f_narrow(1, 0, columns)?;
    let _stage = profile::stage("operands rounded").over([matrix, &copy]);
    copy.f_copy_(matrix)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn an_aligned_copy_has_the_same_numbers_in_rows_of_whole_16_bytes() {
        let matrix = Tensor::randn([5, 300], (Kind::Float, Device::Cpu));
        let copy = aligned(&matrix, Kind::BFloat16).unwrap();
        assert_eq!((copy.size(), copy.stride()), (vec![5, 300], vec![304, 1]));
        assert!(is_aligned(&copy) && !is_aligned(&matrix));
        assert!(copy.equal(&matrix.to_kind(Kind::BFloat16)));
    }
}
