//! Element types of tensors, and the types that the CPU kernels compute with.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

use tch::Kind;

/// An element of a tensor. Loops that only widen, compute and narrow are vectorized.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// The type that is computed with.
    type Accum: Accum;
    /// The kind of a tensor of these elements.
    const KIND: Kind;

    /// Converts exactly.
    fn widen(self) -> Self::Accum;

    /// Rounds to nearest, ties to even.
    fn narrow(x: Self::Accum) -> Self;
}

/// A type that the CPU kernels compute with: `f32`, or `f64` for tests.
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

    /// Rounds to nearest.
    fn from_f64(x: f64) -> Self;

    /// Converts exactly.
    fn to_f64(self) -> f64;

    /// self · by + plus, rounded once.
    fn mul_add(self, by: Self, plus: Self) -> Self;

    /// exp(x). x is clamped to the range of the type; NaN stays NaN.
    fn exp(self) -> Self;

    /// tanh(z), sigmoid(f) and sigmoid(o) with one division. tanh is accurate (relative) near 0. A
    /// sigmoid is at least exp(-28) (f64: exp(-230)).
    fn gates(z: Self, f: Self, o: Self) -> (Self, Self, Self);
}

macro_rules! element {
    ($element:ty, $kind:expr) => {
        impl Element for $element {
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

element!(f32, Kind::Float);
element!(f64, Kind::Double);

/// bfloat16: the upper half of the bits of an `f32`, 8 bits of mantissa.
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
        // Rounding could turn a NaN into an infinity.
        Self(if x.is_nan() { 0x7fc0 } else { rounded as u16 })
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    /// Every exponent, ties and their neighbors, infinity and NaN.
    #[test]
    fn bf16_rounds_as_torch_does() {
        let mut values = vec![0.0, f32::INFINITY, f32::NAN, f32::MAX, 1e-40];
        for exponent in 0..255u32 {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x1_7fff, 0x1_8000, 0x1_8001] {
                values.push(f32::from_bits(exponent << 23 | low));
            }
        }
        values.extend(values.clone().iter().map(|x| -x));
        let expected = Tensor::from_slice(&values).to_kind(Kind::BFloat16).to_kind(Kind::Float);
        let expected: Vec<f32> = Vec::try_from(&expected).unwrap();
        for (value, expected) in values.iter().zip(expected) {
            let ours = Bf16::narrow(*value).widen();
            assert!(
                ours.to_bits() == expected.to_bits() || (ours.is_nan() && expected.is_nan()),
                "{value:e}"
            );
        }
    }
}
