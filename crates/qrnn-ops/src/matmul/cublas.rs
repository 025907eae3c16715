//! Matrix products on a GPU by cuBLAS, through libtorch.

use tch::{Kind, Tensor};

use super::precision::Precision;
use super::torch::{Addend, by_torch};
use crate::Result;
use crate::libtorch::allow_tf32;

/// Rows of a product aᵀ b in TF32 from which a transposed copy of b saves more time than it takes.
const WORTH_COPYING: i64 = 4096;

/// Whether a product a b in TF32 is the gradient of a large weight, with contiguous columns of a and rows of b,
/// and the rows of a transposed copy of b are aligned to 16 bytes.
fn is_worth_transposing(a: &Tensor, b: &Tensor) -> bool {
    let has_contiguous_columns = |matrix: &Tensor| matrix.stride()[0] == 1;
    has_contiguous_columns(a)
        && !has_contiguous_columns(b)
        && a.size()[0] >= WORTH_COPYING
        && b.size()[0] % 4 == 0
}

/// out = a b + addend, as [`Precision::multiply`]. In bf16, `out` is BFloat16 or Float.
///
/// In TF32 a product aᵀ b, the gradient of a weight, runs at 60 % of the rate of the same product with the
/// columns of b contiguous (kernels/README.md).
pub(super) fn multiply(
    precision: Precision,
    out: &Tensor,
    a: &Tensor,
    b: &Tensor,
    addend: Addend<'_>,
) -> Result<()> {
    allow_tf32(precision == Precision::Tf32)?;
    if precision == Precision::Tf32 && is_worth_transposing(a, b) {
        return by_torch(out, a, &b.f_tr()?.f_contiguous()?.f_tr()?, addend);
    }
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
