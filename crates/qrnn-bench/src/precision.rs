//! How the matrix products are computed, as the benchmarks name it.

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

/// Whether the device multiplies these formats.
///
/// # Errors
/// [`Error::Unavailable`] naming one that it does not.
pub fn check(formats: &[PrecisionChoice], device: Device) -> Result<()> {
    if device.is_cuda() || !formats.contains(&PrecisionChoice::Tf32) {
        return Ok(());
    }
    Err(Error::Unavailable {
        what: "--formats tf32".into(),
        problem: "it is a format of NVIDIA GPUs".into(),
        remedy: "add --device cuda, or leave it out".into(),
    })
}
