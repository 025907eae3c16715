//! How the matrix products are computed, as the benchmarks name it.

use qrnn::{Error, Result};
use qrnn_ops::matmul::Products;
use tch::Device;

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
pub enum Format {
    Fp32,
    Tf32,
    Bf16,
    Torch,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::Torch => "torch",
        }
    }

    pub fn products(self) -> Products {
        match self {
            Self::Fp32 => Products::Single,
            Self::Tf32 => Products::Tf32,
            Self::Bf16 => Products::Bf16,
            Self::Torch => Products::Torch,
        }
    }
}

/// Whether the device multiplies these formats.
///
/// # Errors
/// [`Error::Unavailable`] naming one that it does not.
pub fn check(formats: &[Format], device: Device) -> Result<()> {
    if device.is_cuda() || !formats.contains(&Format::Tf32) {
        return Ok(());
    }
    Err(Error::Unavailable {
        what: "--formats tf32".into(),
        problem: "it is a format of NVIDIA GPUs".into(),
        remedy: "add --device cuda, or leave it out".into(),
    })
}
