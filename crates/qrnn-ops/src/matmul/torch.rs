//! Matrix products by torch.

use tch::Tensor;

use crate::Result;

/// The addend of a product.
#[derive(Debug, Clone, Copy)]
pub enum Addend<'a> {
    /// None: `out` is overwritten.
    Nothing,
    /// The previous contents of `out`.
    Output,
    /// (columns), added to every row.
    Bias(&'a Tensor),
}

pub(super) fn by_torch(out: &Tensor, a: &Tensor, b: &Tensor, addend: Addend<'_>) -> Result<()> {
    match addend {
        Addend::Nothing => a.f_mm_out(out, b).map(drop)?,
        Addend::Output => out.shallow_clone().f_addmm_(a, b).map(drop)?,
        Addend::Bias(bias) => bias.f_addmm_out(out, a, b).map(drop)?,
    }
    Ok(())
}
