//! Matrix products on a GPU: cuBLAS, by way of libtorch.

use tch::{Device, Kind, Tensor};

use super::precision::Precision;
use super::torch::{Added, by_torch};
use crate::Result;
use crate::cuda;
use crate::libtorch::allow_tf32;

/// Numbers of bf16 in 16 bytes: rows that begin at a multiple of these are read whole. The widths of
/// the entry are not (emsize 300, head of 2,803 classes, vocabulary of 267,735).
const ALIGNED: i64 = 8;

/// out = a b + added, as [`Precision::multiply`]. In bf16, `out` is of kind BFloat16 or Float.
pub(super) fn multiply(
    precision: Precision,
    out: &Tensor,
    a: &Tensor,
    b: &Tensor,
    added: Added<'_>,
) -> Result<()> {
    allow_tf32(precision == Precision::Tf32)?;
    if precision != Precision::Bf16 {
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

/// What the rows of a result should begin at multiples of, in numbers, so that it is an operand that
/// cuBLAS reads fast: in bf16 on a GPU 16 bytes, else 1.
pub(super) fn alignment((kind, device): (Kind, Device)) -> i64 {
    if cuda::is_gpu(device) && kind == Kind::BFloat16 { ALIGNED } else { 1 }
}

/// Room for a tensor whose rows, along the last dimension, begin at multiples of `align` numbers. What
/// lies between them is never read.
pub(super) fn rows(size: &[i64], options: (Kind, Device), align: i64) -> Result<Tensor> {
    let mut strides = vec![1; size.len()];
    let mut next = 1;
    for (dim, stride) in strides.iter_mut().enumerate().rev() {
        *stride = next;
        next *= size[dim];
        if dim + 1 == size.len() {
            next = (next as u64).next_multiple_of(align as u64) as i64;
        }
    }
    Ok(Tensor::f_empty_strided(size, &strides[..], options)?)
}

/// A copy in another kind whose rows begin at multiples of 16 bytes.
pub(super) fn aligned(matrix: &Tensor, kind: Kind) -> Result<Tensor> {
    let mut copy = rows(&matrix.size(), (kind, matrix.device()), ALIGNED)?;
    copy.f_copy_(matrix)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
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
