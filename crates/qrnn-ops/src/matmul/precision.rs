//! The precision of matrix products.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::cuda;

/// Multiplications of a layer from which on bf16 is the faster format: at a fifth of them steps took
/// longer in it than in single precision, at four fifths as long where all windows had one length
/// (`bench step` with small --models, --batch-size, --bptt) and twice as long where each had its own
/// (the table of `reproduce`).
const WORTH_ROUNDING: usize = 1 << 25;

/// How matrix products are computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
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

impl Precision {
    /// The fastest whose losses stay within what a change of the seed makes of them: bf16 where the
    /// processor multiplies it (`bf16_stays_within_the_noise_of_a_seed`) and the work is worth the
    /// rounding, else single precision; on a card TF32, as bf16 activations have not proved themselves
    /// there yet.
    ///
    /// * `multiplications`: of a step's largest layer .
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
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Torch => "matrix products: torch's own, in fp32",
            Self::Single => "matrix products: fp32",
            Self::Tf32 => "matrix products: tf32 operands, all else in fp32",
            Self::Bf16 => "matrix products: bf16, with sums, weights and state in fp32",
        })
    }
}
