//! Matrix products of tensors, each by the library that is fastest for it: on the CPU `gemm` or torch
//! (`cpu`), on a card cuBLAS (`card`).

mod card;
mod cpu;
mod features;
mod linear;
mod product;

pub(crate) use card::try_out as try_card;
pub(crate) use features::{
    Features, augmented_row, augmented_weight, one_and_zeros, write_augmented,
};
pub use linear::linear;
#[cfg(test)]
pub(crate) use linear::linear_in_rows;
pub(crate) use linear::linear_of_features;
pub use product::Product;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::{Result, cuda, profile};

/// Multiplications of a layer from which on bf16 is the faster format: at a fifth of them steps took
/// longer in it than in single precision, at four fifths as long where all windows had one length
/// (`bench step` with small --models, --batch-size, --bptt) and twice as long where each had its own
/// (the table of `reproduce`).
const WORTH_ROUNDING: usize = 1 << 25;

/// How matrix products are computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Products {
    /// Torch's product, in the tensors' own kind: the plain way, to compare with.
    Torch,
    /// Single precision, by the kernel that is faster on this processor.
    #[default]
    Single,
    /// Operands rounded to TF32 (11 bits of mantissa), on a card only.
    Tf32,
    /// Operands and results in bf16 (8 bits of mantissa), sums in single precision.
    Bf16,
}

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

impl Products {
    /// The fastest whose losses stay within what a change of the seed makes of them: bf16 where the
    /// processor multiplies it (`bf16_stays_within_the_noise_of_a_seed`) and the work is worth the
    /// rounding, else single precision; on a card TF32, as bf16 activations have not proved themselves
    /// there yet.
    ///
    /// * `multiplications`: of a step's largest layer ([`crate::model::LmConfig::layer_multiplications`]).
    pub fn automatic(device: Device, multiplications: usize) -> Self {
        match device {
            Device::Cuda(_) => Self::Tf32,
            _ if Self::has_bf16() && multiplications >= WORTH_ROUNDING => Self::Bf16,
            _ => Self::Single,
        }
    }

    /// The same for a figure to be compared: single precision in place of bf16.
    pub fn exact(self) -> Self {
        if matches!(self, Self::Bf16 | Self::Tf32) { Self::Single } else { self }
    }

    /// Whether this processor multiplies bf16 numbers.
    pub fn has_bf16() -> bool {
        #[cfg(target_arch = "x86_64")]
        return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// The kind of what lies between the products, activations and logits: where bf16 numbers are
    /// multiplied, these are stored so.
    pub fn activation_kind(self, (kind, device): (Kind, Device)) -> Kind {
        let multiplied = cuda::is_gpu(device) || Self::has_bf16();
        if self == Self::Bf16 && kind == Kind::Float && multiplied { Kind::BFloat16 } else { kind }
    }

    /// A matrix as an operand of several products of this format: rounded once, on a card each row at
    /// an address that its fast products want.
    ///
    /// * `matrix`: (rows, columns), its columns side by side.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub fn operand(self, matrix: &Tensor) -> Result<Tensor> {
        let kind = self.activation_kind((matrix.kind(), matrix.device()));
        let on_cpu = matrix.device() == Device::Cpu;
        let ready = on_cpu || kind != Kind::BFloat16 || card::is_aligned(matrix);
        if kind == matrix.kind() && ready {
            return Ok(matrix.shallow_clone());
        }
        let stage = profile::stage("rounding to bf16");
        let copy = if on_cpu { matrix.f_to_kind(kind)? } else { card::aligned(matrix, kind)? };
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
        profile::product(|| Product::of(self, out, a, b, added));
        let _stage = profile::stage("matrix products");
        match out.device() {
            Device::Cuda(_) => card::multiply(self, out, a, b, added),
            #[cfg(test)]
            _ if cuda::host::stands_in() => tests::multiply_as_on_a_gpu(out, a, b, added),
            _ => cpu::multiply(self, out, a, b, added),
        }
    }
}

impl std::fmt::Display for Products {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Torch => "matrix products: torch's own, in fp32",
            Self::Single => "matrix products: fp32",
            Self::Tf32 => "matrix products: tf32 operands, all else in fp32",
            Self::Bf16 => "matrix products: bf16, with sums, weights and state in fp32",
        })
    }
}

fn by_torch(out: &Tensor, a: &Tensor, b: &Tensor, added: Added<'_>) -> Result<()> {
    match added {
        Added::Nothing => a.f_mm_out(out, b).map(drop)?,
        Added::Itself => out.shallow_clone().f_addmm_(a, b).map(drop)?,
        Added::Bias(bias) => bias.f_addmm_out(out, a, b).map(drop)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;
