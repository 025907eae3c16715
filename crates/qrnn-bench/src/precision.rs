//! The precisions of the benchmarks.

use qrnn::{Error, Result};
use qrnn_ops::matmul::Precision;
use tch::Device;

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
pub enum PrecisionChoice {
    Fp32,
    Tf32,
    Bf16,
    Torch,
}

impl PrecisionChoice {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::Torch => "torch",
        }
    }

    pub fn precision(self) -> Precision {
        match self {
            Self::Fp32 => Precision::Single,
            Self::Tf32 => Precision::Tf32,
            Self::Bf16 => Precision::Bf16,
            Self::Torch => Precision::Torch,
        }
    }
}

/// Checks that the device supports these precisions.
pub fn check(formats: &[PrecisionChoice], device: Device) -> Result<()> {
    if device.is_cuda() || !formats.contains(&PrecisionChoice::Tf32) {
        return Ok(());
    }
    Err(Error::Unavailable {
        what: "--formats tf32".into(),
        problem: "only NVIDIA GPUs support it".into(),
        remedy: "add --device cuda, or remove tf32".into(),
    })
}
