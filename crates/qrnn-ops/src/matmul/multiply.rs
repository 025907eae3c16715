//! Dispatches matrix products to the fastest library.

use tch::{Device, Kind, Tensor};

use super::precision::Precision;
use super::torch::Addend;
use super::{cpu, cublas};
use crate::profile::{self, Stage};
use crate::{Result, cuda};

impl Precision {
    /// Rounds a matrix as an operand of several products.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if memory runs out.
    pub fn operand(self, matrix: &Tensor) -> Result<Tensor> {
        let kind = self.activation_kind((matrix.kind(), matrix.device()));
        if kind == matrix.kind() {
            return Ok(matrix.shallow_clone());
        }
        let _span = profile::span(Stage::Rounding);
        Ok(matrix.f_to_kind(kind)?)
    }

    /// out = a b + addend.
    ///
    /// * `a`: (rows, depth) and `b`: (depth, columns), of any strides;
    /// * `out`: (rows, columns), with contiguous rows.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] if shapes or kinds do not match.
    pub fn multiply(self, out: &Tensor, a: &Tensor, b: &Tensor, addend: Addend<'_>) -> Result<()> {
        let _span = profile::span(Stage::MatrixProducts);
        match out.device() {
            Device::Cuda(_) => cublas::multiply(self, out, a, b, addend),
            _ if cuda::host_shim::is_active() => multiply_on_host_shim(out, a, b, addend),
            _ => cpu::multiply(self, out, a, b, addend),
        }
    }
}

/// Emulates cuBLAS on the CPU: operands of any kind, sums in fp32, the result rounded once.
fn multiply_on_host_shim(out: &Tensor, a: &Tensor, b: &Tensor, addend: Addend<'_>) -> Result<()> {
    let float = |tensor: &Tensor| tensor.f_to_kind(Kind::Float);
    let product = float(a)?.f_mm(&float(b)?)?;
    let sum = match addend {
        Addend::Nothing => product,
        Addend::Output => product.f_add(&float(out)?)?,
        Addend::Bias(bias) => product.f_add(&float(bias)?)?,
    };
    Ok(out.shallow_clone().f_copy_(&sum)?)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
