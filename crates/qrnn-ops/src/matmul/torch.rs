//! torch's own matrix product.

use tch::Tensor;

use crate::Result;

/// What a product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Added<'a> {
    /// Nothing; what `out` holds is overwritten.
    Nothing,
    /// What `out` holds.
    Itself,
    /// A number a column: (columns).
    Bias(&'a Tensor),
}

pub(super) fn by_torch(out: &Tensor, a: &Tensor, b: &Tensor, added: Added<'_>) -> Result<()> {
    match added {
        Added::Nothing => a.f_mm_out(out, b).map(drop)?,
        Added::Itself => out.shallow_clone().f_addmm_(a, b).map(drop)?,
        Added::Bias(bias) => bias.f_addmm_out(out, a, b).map(drop)?,
    }
    Ok(())
}
