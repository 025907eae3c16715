//! How the matrix products are computed, as the benchmarks name it.

use qrnn::matmul::Products;

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
pub enum Format {
    Fp32,
    Bf16,
    Torch,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Torch => "torch",
        }
    }

    pub fn products(self) -> Products {
        match self {
            Self::Fp32 => Products::Single,
            Self::Bf16 => Products::Bf16,
            Self::Torch => Products::Torch,
        }
    }
}
