//! The precision of matrix products.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::cuda::{self, Driver};

/// Multiplications of a layer from which bf16 is faster than single precision. Measured with `qrnn-bench
/// step`: at a fifth of them a step is slower, at four fifths it is as fast if all batches have one length,
/// and takes twice as long if the lengths differ.
const WORTH_ROUNDING: usize = 1 << 25;

/// The precision of matrix products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// torch's matmul in the tensors' kind, for comparisons.
    Torch,
    /// fp32, by `gemm` or torch, whichever is faster on this processor.
    #[default]
    Single,
    /// Operands rounded to TF32 (11 bits of mantissa); GPUs only.
    Tf32,
    /// Operands and results in bf16 (8 bits of mantissa), sums in fp32.
    Bf16,
}

impl Precision {
    /// The fastest precision for training whose losses differ no more than those of different seeds: bf16 on
    /// GPUs of compute capability 8 or later, and for large layers on CPUs with bf16 support; otherwise fp32.
    ///
    /// On an H100, mean losses of bf16 and TF32 differ by at most 1.3e-3 over 1,200 steps of the entry's model, and
    /// those of two seeds by 4.7e-3 (`qrnn-bench curves`).
    ///
    /// * `multiplications`: of the largest layer in a step (`LmConfig::layer_multiplications` of `qrnn`).
    pub fn automatic(device: Device, multiplications: usize) -> Self {
        match device {
            Device::Cuda(ordinal) if has_tensor_cores_for_bf16(ordinal) => Self::Bf16,
            Device::Cuda(_) => Self::Single,
            _ if Self::has_bf16() && multiplications >= WORTH_ROUNDING => Self::Bf16,
            _ => Self::Single,
        }
    }

    /// The precision for reported results: fp32 instead of bf16 and TF32.
    pub fn exact(self) -> Self {
        if matches!(self, Self::Bf16 | Self::Tf32) { Self::Single } else { self }
    }

    /// Whether this processor has bf16 multiplication (AVX512-BF16).
    pub fn has_bf16() -> bool {
        #[cfg(target_arch = "x86_64")]
        return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// The kind of activations and logits: bf16 in bf16 precision if the device supports it,
    /// otherwise `kind`.
    pub fn activation_kind(self, (kind, device): (Kind, Device)) -> Kind {
        let supported = cuda::is_gpu(device) || Self::has_bf16();
        if self == Self::Bf16 && kind == Kind::Float && supported { Kind::BFloat16 } else { kind }
    }
}

/// Whether this GPU has them: Ampere (2020) and later.
fn has_tensor_cores_for_bf16(ordinal: usize) -> bool {
    let capability = Driver::open().and_then(|driver| driver.capability(ordinal));
    capability.is_ok_and(|(major, _)| major >= 8)
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
