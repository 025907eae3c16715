//! Numbers as they lie in memory, and as the CPU kernels compute with them.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

use tch::Kind;

/// A number in memory. Loops that only widen, compute and narrow become vector code.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// What is computed with it.
    type Accum: Accum;
    /// The torch kind of a tensor of these.
    const KIND: Kind;

    /// The same number.
    fn widen(self) -> Self::Accum;

    /// The nearest number, to even where two are as near.
    fn narrow(x: Self::Accum) -> Self;
}

/// A number the CPU kernels compute with: `f32`, or `f64` for the proofs.
pub trait Accum:
    Element<Accum = Self>
    + Debug
    + Default
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + PartialOrd
{
    /// 1.
    const ONE: Self;

    /// The nearest number.
    fn from_f64(x: f64) -> Self;

    /// The same number.
    fn to_f64(self) -> f64;

    /// self · by + plus, rounded once.
    fn mul_add(self, by: Self, plus: Self) -> Self;

    /// exp(x); beyond what the kind can hold it stays at a large number, and NaN stays NaN.
    fn exp(self) -> Self;

    /// tanh(z), sigmoid(f) and sigmoid(o), with one division for all three. tanh keeps its relative
    /// accuracy near 0. A sigmoid nearer to 0 than exp(-28) (f64: exp(-230)) stays there.
    fn gates(z: Self, f: Self, o: Self) -> (Self, Self, Self);
}

macro_rules! stored_as_it_is {
    ($real:ty, $kind:expr) => {
        impl Element for $real {
            type Accum = Self;
            const KIND: Kind = $kind;

            #[inline(always)]
            fn widen(self) -> Self {
                self
            }

            #[inline(always)]
            fn narrow(x: Self) -> Self {
                x
            }
        }
    };
}

stored_as_it_is!(f32, Kind::Float);
stored_as_it_is!(f64, Kind::Double);

/// The upper half of an `f32`'s bits: 8 bits of mantissa.
#[derive(Debug, Clone, Copy, Default)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Element for Bf16 {
    type Accum = f32;
    const KIND: Kind = Kind::BFloat16;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // Rounding could carry a NaN into an infinity.
        Self(if x.is_nan() { 0x7fc0 } else { rounded as u16 })
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    /// Every exponent, ties and their neighbors, what is no number.
    #[test]
    fn bf16_rounds_as_torch_does() {
        let mut values = vec![0.0, f32::INFINITY, f32::NAN, f32::MAX, 1e-40];
        for exponent in 0..255u32 {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x1_7fff, 0x1_8000, 0x1_8001] {
                values.push(f32::from_bits(exponent << 23 | low));
            }
        }
        values.extend(values.clone().iter().map(|x| -x));
        let torchs = Tensor::from_slice(&values).to_kind(Kind::BFloat16).to_kind(Kind::Float);
        let torchs: Vec<f32> = Vec::try_from(&torchs).unwrap();
        for (value, torchs) in values.iter().zip(torchs) {
            let ours = Bf16::narrow(*value).widen();
            assert!(
                ours.to_bits() == torchs.to_bits() || (ours.is_nan() && torchs.is_nan()),
                "{value:e}"
            );
        }
    }
}
