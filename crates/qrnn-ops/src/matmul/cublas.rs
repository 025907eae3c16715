//! Matrix products on a GPU by cuBLAS, through libtorch.

use tch::{Device, Kind, Tensor};

use super::precision::Precision;
use super::torch::{Addend, by_torch};
use crate::Result;
use crate::cuda;
use crate::libtorch::allow_tf32;

/// Row alignment of bf16 operands for cuBLAS's fast path: 16 bytes, in elements. The widths of the
/// entry are not multiples of it (emsize 300, head of 2,803 classes, vocabulary of 267,735).
const ALIGNED: i64 = 8;

/// out = a b + addend, as [`Precision::multiply`]. In bf16, `out` is BFloat16 or Float.
pub(super) fn multiply(
    precision: Precision,
    out: &Tensor,
    a: &Tensor,
    b: &Tensor,
    addend: Addend<'_>,
) -> Result<()> {
    allow_tf32(precision == Precision::Tf32)?;
    if precision != Precision::Bf16 {
        return by_torch(out, a, b, addend);
    }
    let (a, b) = (a.f_to_kind(Kind::BFloat16)?, b.f_to_kind(Kind::BFloat16)?);
    let bias = match addend {
        Addend::Bias(bias) => Some(bias.f_to_kind(out.kind())?),
        _ => None,
    };
    let addend = bias.as_ref().map_or(addend, Addend::Bias);
    if out.kind() != Kind::Float {
        return by_torch(out, &a, &b, addend);
    }
    // fp32 sums that are not rounded to bf16.
    let _ = match addend {
        Addend::Nothing => a.f_mm_dtype_out(out, &b, Kind::Float)?,
        Addend::Output => out.f_addmm_dtype_out(out, &a, &b, Kind::Float)?,
        Addend::Bias(bias) => bias.f_addmm_dtype_out(out, &a, &b, Kind::Float)?,
    };
    Ok(())
}

/// Whether every row is aligned to 16 bytes if the first is.
pub(super) fn is_aligned(matrix: &Tensor) -> bool {
    matrix.stride().first().is_some_and(|stride| stride % ALIGNED == 0)
}

/// Row alignment, in elements, for cuBLAS's fast path: 16 bytes for bf16 on CUDA, otherwise 1.
pub(super) fn alignment((kind, device): (Kind, Device)) -> i64 {
    if cuda::is_gpu(device) && kind == Kind::BFloat16 { ALIGNED } else { 1 }
}

/// An uninitialized tensor whose rows (the last dimension) are aligned to `align` elements.
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

/// A copy of this kind whose rows are aligned to 16 bytes (in bf16).
pub(super) fn aligned(matrix: &Tensor, kind: Kind) -> Result<Tensor> {
    let mut copy = rows(&matrix.size(), (kind, matrix.device()), ALIGNED)?;
    copy.f_copy_(matrix)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aligned_copy_equals_the_matrix() {
        let matrix = Tensor::randn([5, 300], (Kind::Float, Device::Cpu));
        let copy = aligned(&matrix, Kind::BFloat16).unwrap();
        assert_eq!((copy.size(), copy.stride()), (vec![5, 300], vec![304, 1]));
        assert!(is_aligned(&copy) && !is_aligned(&matrix));
        assert!(copy.equal(&matrix.to_kind(Kind::BFloat16)));
    }
}
