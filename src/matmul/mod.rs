//! Matrix products of tensors: on the CPU our own, in single precision or with bf16 operands, or
//! torch's; on a card cuBLAS's (`card`).
//!
//! Torch's single-precision product is MKL's, which on AMD's processors takes a slow path: half of
//! what ours reaches (`reproduce bench step --formats torch,fp32`). In bf16 ours takes operands in single precision and
//! rounds them while it packs them; sums and results stay in single precision.

#[cfg(target_arch = "x86_64")]
mod blocks;
mod card;
#[cfg(target_arch = "x86_64")]
mod kernel;
mod linear;
#[cfg(target_arch = "x86_64")]
mod pack;
mod product;

pub use linear::linear;
pub use product::Product;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::{Result, profile};

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
    /// Operands rounded to bf16 (8 bits of mantissa), sums in single precision.
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
    /// processor multiplies it (`bf16_stays_within_the_noise_of_a_seed`), else single precision; on
    /// a card TF32, as bf16 activations have not proved themselves there yet.
    pub fn automatic(device: Device) -> Self {
        match device {
            Device::Cuda(_) => Self::Tf32,
            _ if Self::has_bf16() => Self::Bf16,
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

    /// Whether ours is the kernel for single precision here: where MKL takes its slow path.
    fn ours_is_faster() -> bool {
        #[cfg(target_arch = "x86_64")]
        return is_x86_feature_detected!("avx512f") && !is_intel();
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// The kind of what lies between the products, activations and logits: on a card that multiplies
    /// bf16 operands, these are stored so.
    pub fn activation_kind(self, (kind, device): (Kind, Device)) -> Kind {
        if self == Self::Bf16 && device.is_cuda() { Kind::BFloat16 } else { kind }
    }

    /// A matrix as an operand of several products of this format: rounded once, each row at an
    /// address that a card's fast products want. On the CPU the tensor itself.
    ///
    /// * `matrix`: (rows, columns), its columns side by side.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub fn operand(self, matrix: &Tensor) -> Result<Tensor> {
        let kind = self.activation_kind((matrix.kind(), matrix.device()));
        let ready = kind != Kind::BFloat16 || card::is_aligned(matrix);
        if kind == matrix.kind() && ready {
            return Ok(matrix.shallow_clone());
        }
        card::aligned(matrix, kind)
    }

    /// out = a b + added.
    ///
    /// * `a`: (rows, depth) and `b`: (depth, columns), of any strides;
    /// * `out`: (rows, columns), its columns side by side.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where shapes or kinds do not fit together.
    pub fn multiply(self, out: &Tensor, a: &Tensor, b: &Tensor, added: Added<'_>) -> Result<()> {
        profile::product(|| Product::of(self, a, b, added));
        let _stage = profile::stage("matrix products");
        if out.device().is_cuda() {
            return card::multiply(self, out, a, b, added);
        }
        #[cfg(target_arch = "x86_64")]
        {
            let bf16 = self == Self::Bf16 && Self::has_bf16();
            let ours = bf16 || self == Self::Single && Self::ours_is_faster();
            if ours && let Some(job) = job(out, a, b, added, bf16) {
                // SAFETY: `job` has checked the shapes; the tensors outlive the call, and the
                // processor has the instructions.
                return unsafe { blocks::run(&job) };
            }
        }
        by_torch(out, a, b, added)
    }
}

impl std::fmt::Display for Products {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Torch => "matrix products: torch's own, in fp32",
            Self::Single => "matrix products: fp32",
            Self::Tf32 => "matrix products: tf32 operands, all else in fp32",
            Self::Bf16 => "matrix products: bf16 operands, sums and all else in fp32",
        })
    }
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
}

/// `None` where a tensor is not of a kind, place or shape that ours can take.
#[cfg(target_arch = "x86_64")]
fn job(out: &Tensor, a: &Tensor, b: &Tensor, added: Added<'_>, bf16: bool) -> Option<blocks::Job> {
    let fits = |tensor: &Tensor| tensor.kind() == Kind::Float && tensor.device() == Device::Cpu;
    let ([rows, columns], [depth, _]) = (size2(out)?, size2(b)?);
    let onto = match added {
        Added::Nothing => kernel::Onto::Nothing,
        Added::Itself => kernel::Onto::Itself,
        Added::Bias(bias) => {
            let usable = fits(bias) && bias.is_contiguous() && bias.size() == [columns as i64];
            kernel::Onto::Bias(usable.then(|| bias.data_ptr().cast_const().cast())?)
        }
    };
    let usable = [out, a, b].into_iter().all(fits) && depth > 0 && rows * columns > 0;
    if !usable || size2(a)? != [rows, depth] || size2(b)? != [depth, columns] {
        return None;
    }
    let strides = out.stride();
    if columns > 1 && strides[1] != 1 {
        return None;
    }
    Some(blocks::Job {
        a: source(a, 0)?,
        b: source(b, 1)?,
        c: out.data_ptr().cast(),
        stride: strides[0] as usize,
        onto,
        bf16,
    })
}

#[cfg(target_arch = "x86_64")]
fn size2(tensor: &Tensor) -> Option<[usize; 2]> {
    <[i64; 2]>::try_from(tensor.size()).ok().map(|size| size.map(|n| n as usize))
}

/// A matrix whose lanes are its dimension `lanes`; `None` where neither dimension lies side by side.
#[cfg(target_arch = "x86_64")]
fn source(tensor: &Tensor, lanes: usize) -> Option<pack::Source> {
    let (size, stride) = (size2(tensor)?, tensor.stride());
    let depth = 1 - lanes;
    // Where there is but one number in a direction, its stride says nothing.
    let stride = |dim: usize| if size[dim] == 1 { 1 } else { stride[dim] as usize };
    let source = pack::Source {
        at: tensor.data_ptr().cast_const().cast(),
        lanes: size[lanes],
        depth: size[depth],
        lane_stride: stride(lanes),
        step_stride: stride(depth),
    };
    (source.lane_stride == 1 || source.step_stride == 1).then_some(source)
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
