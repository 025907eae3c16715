//! Numbers as they lie in memory, and as the CPU kernels compute with them.

use tch::Kind;

use super::real::Real;

/// A number in memory. Loops that only widen, compute and narrow become vector code.
pub trait Stored: Copy + Default + Send + Sync + 'static {
    /// What is computed with it.
    type Real: Real;
    /// The torch kind of a tensor of these.
    const KIND: Kind;

    /// The same number.
    fn widen(self) -> Self::Real;

    /// The nearest number, to even where two are as near.
    fn narrow(x: Self::Real) -> Self;
}

macro_rules! stored_as_it_is {
    ($real:ty, $kind:expr) => {
        impl Stored for $real {
            type Real = Self;
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

impl Stored for Bf16 {
    type Real = f32;
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

    /// Every exponent, ties and their neighbours, what is no number.
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
