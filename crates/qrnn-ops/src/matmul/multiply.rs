//! Matrix products, each by the library that is fastest for it.

use tch::{Device, Kind, Tensor};

use super::precision::Precision;
use super::torch::Added;
use super::{cpu, cublas};
use crate::profile::{self, MatmulShape};
use crate::{Result, cuda};

impl Precision {
    /// A matrix as an operand of several products of this format: rounded once, on a GPU each row at
    /// an address that its fast products want.
    ///
    /// * `matrix`: (rows, columns), its columns side by side.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub fn operand(self, matrix: &Tensor) -> Result<Tensor> {
        let kind = self.activation_kind((matrix.kind(), matrix.device()));
        let on_cpu = matrix.device() == Device::Cpu;
        let ready = on_cpu || kind != Kind::BFloat16 || cublas::is_aligned(matrix);
        if kind == matrix.kind() && ready {
            return Ok(matrix.shallow_clone());
        }
        let stage = profile::stage("rounding to bf16");
        let copy = if on_cpu { matrix.f_to_kind(kind)? } else { cublas::aligned(matrix, kind)? };
        let _stage = stage.over([matrix, &copy]);
        Ok(copy)
    }

    /// out = a b + added.
    ///
    /// * `a`: (rows, depth) and `b`: (depth, columns), of any strides;
    /// * `out`: (rows, columns), its columns side by side.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where shapes or kinds do not fit together.
    pub fn multiply(self, out: &Tensor, a: &Tensor, b: &Tensor, added: Added<'_>) -> Result<()> {
        profile::matmul(|| MatmulShape::of(out, a, b, matches!(added, Added::Itself)));
        let _stage = profile::stage("matrix products");
        match out.device() {
            Device::Cuda(_) => cublas::multiply(self, out, a, b, added),
            _ if cuda::host_shim::is_active() => multiply_on_host_shim(out, a, b, added),
            _ => cpu::multiply(self, out, a, b, added),
        }
    }
}

/// What cuBLAS computes, on the CPU: operands of any kind, sums in fp32, the result rounded once.
fn multiply_on_host_shim(out: &Tensor, a: &Tensor, b: &Tensor, added: Added<'_>) -> Result<()> {
    let float = |tensor: &Tensor| tensor.f_to_kind(Kind::Float);
    let product = float(a)?.f_mm(&float(b)?)?;
    let sum = match added {
        Added::Nothing => product,
        Added::Itself => product.f_add(&float(out)?)?,
        Added::Bias(bias) => product.f_add(&float(bias)?)?,
    };
    Ok(out.shallow_clone().f_copy_(&sum)?)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
