//! Branch-free exponentials, written so that the compiler turns loops over them into vector code.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::stored::Stored;

/// A number the CPU kernels compute with: `f32`, or `f64` for the proofs.
pub trait Real:
    Stored<Real = Self>
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

    /// exp(x) - 1 with the relative accuracy kept near 0; beyond what the kind can hold it stays at
    /// a large number, and NaN stays NaN.
    fn exp_m1(self) -> Self;

    /// 1 / (1 + exp(-x)).
    fn sigmoid(self) -> Self;

    /// tanh(x).
    fn tanh(self) -> Self;

    /// exp(x).
    fn exp(self) -> Self;

    /// tanh(z), sigmoid(f) and sigmoid(o) with one division for all three, which is what they cost
    /// most. A sigmoid nearer to 0 than exp(-28) (f64: exp(-230)) stays there.
    fn gates(z: Self, f: Self, o: Self) -> (Self, Self, Self);
}

macro_rules! real {
    ($real:ident, $parts:ident, mantissa: $mantissa:literal, bias: $bias:literal,
     ln2: ($ln2_high:expr, $ln2_low:expr), limits: ($exp:literal, $tanh:literal, $gate:literal),
     series: $series:expr) => {
        impl Real for $real {
            const ONE: Self = 1.0;

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as Self
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }

            #[inline(always)]
            fn exp_m1(self) -> Self {
                let (scale, small) = $parts(self.clamp(-$exp, $exp));
                scale.mul_add(small, scale - 1.0)
            }

            #[inline(always)]
            fn sigmoid(self) -> Self {
                1.0 / (2.0 + Real::exp_m1(-self))
            }

            #[inline(always)]
            fn tanh(self) -> Self {
                let e = Real::exp_m1((2.0 * self).clamp(-$tanh, $tanh));
                e / (e + 2.0)
            }

            #[inline(always)]
            fn gates(z: Self, f: Self, o: Self) -> (Self, Self, Self) {
                let (scale, small) = $parts((2.0 * z).clamp(-$tanh, $tanh));
                let e = scale.mul_add(small, scale - 1.0);
                let below_z = e + 2.0;
                let below = |x: Self| {
                    let (scale, small) = $parts((-x).clamp(-$gate, $gate));
                    scale.mul_add(small, scale + 1.0)
                };
                let (below_f, below_o) = (below(f), below(o));
                let both = below_z * below_f;
                let inverse = 1.0 / (both * below_o);
                let others = inverse * below_o;
                (e * (others * below_f), others * below_z, inverse * both)
            }

            #[inline(always)]
            fn exp(self) -> Self {
                let (scale, small) = $parts(self.clamp(-$exp, $exp));
                scale.mul_add(small, scale)
            }
        }

        /// exp(x) = scale · (1 + small), for what the kind can hold.
        #[inline(always)]
        fn $parts(x: $real) -> ($real, $real) {
            // Adding 1.5 · 2^mantissa rounds to an integer and leaves it in the low bits; with the
            // exponent's bias beside it they are the exponent of 2^k.
            const ROUND: $real = 1.5 * (1u64 << $mantissa) as $real + $bias as $real;
            let shifted = x.mul_add(std::$real::consts::LOG2_E, ROUND);
            let k = shifted - ROUND;
            let r = k.mul_add(-$ln2_low, k.mul_add(-$ln2_high, x));
            let series: &[$real] = &$series;
            let mut sum = series[0];
            for &coefficient in &series[1..] {
                sum = sum.mul_add(r, coefficient);
            }
            ($real::from_bits(shifted.to_bits() << $mantissa), (r * r).mul_add(sum, r))
        }
    };
}

// The series of (exp(r) - 1 - r) / r², highest power first. For f32 the coefficients whose largest
// error in exp(r) over |r| ≤ ln 2 / 2 is least, 3e-9; for f64 Taylor's, the first one left out below
// half a unit in the last place.
real!(f32, parts_f32, mantissa: 23, bias: 127,
      ln2: (355.0 / 512.0, -2.121_944_4e-4), limits: (87.0, 20.0, 28.0),
      series: [1.395_049_2e-3, 8.368_89e-3, 4.166_620_6e-2, 0.166_665_18, 0.5]);
real!(f64, parts_f64, mantissa: 52, bias: 1023,
      ln2: (0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10), limits: (708.0, 40.0, 230.0),
      series: [1.0 / 6_227_020_800.0, 1.0 / 479_001_600.0, 1.0 / 39_916_800.0, 1.0 / 3_628_800.0,
               1.0 / 362_880.0, 1.0 / 40_320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0,
               1.0 / 24.0, 1.0 / 6.0, 0.5]);

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error relative to the exact value, over a fine grid.
    fn worst<R: Real>(ours: impl Fn(R) -> R, exact: impl Fn(f64) -> f64, limit: f64) -> f64
    where
        f64: From<R>,
    {
        let n = 200_001;
        let mut worst = 0.0f64;
        for i in 0..n {
            let x = R::from_f64(limit * (2.0 * i as f64 / (n - 1) as f64 - 1.0));
            let (ours, exact) = (f64::from(ours(x)), exact(f64::from(x)));
            let error = ((ours - exact) / exact.abs().max(1e-300)).abs();
            if exact != 0.0 {
                // max would pass over a NaN
                worst = if error <= worst { worst } else { error };
            }
        }
        worst
    }

    fn exact_sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn single_precision_is_close_to_exact() {
        assert!(worst(<f32 as Real>::tanh, f64::tanh, 12.0) < 4e-7);
        assert!(worst(<f32 as Real>::sigmoid, exact_sigmoid, 15.0) < 4e-7);
        assert!(worst(<f32 as Real>::exp_m1, f64::exp_m1, 80.0) < 4e-7);
    }

    #[test]
    fn double_precision_is_close_to_exact() {
        assert!(worst(<f64 as Real>::tanh, f64::tanh, 30.0) < 1e-15);
        assert!(worst(<f64 as Real>::sigmoid, exact_sigmoid, 30.0) < 1e-15);
        assert!(worst(<f64 as Real>::exp_m1, f64::exp_m1, 300.0) < 2e-15);
    }

    #[test]
    fn gates_together_are_close_to_each_by_itself() {
        for i in -400..=400 {
            let x = i as f32 / 10.0;
            let (z, f, o) = Real::gates(x, -x, 0.7 * x);
            let exact = |x: f32| exact_sigmoid(f64::from(x)) as f32;
            assert!((z - x.tanh()).abs() < 1e-6, "{x}");
            assert!((f - exact(-x)).abs() < 1e-6 && (o - exact(0.7 * x)).abs() < 1e-6, "{x}");
            let (z, f, o) = Real::gates(f64::from(x), f64::from(-x), 0.7 * f64::from(x));
            let x = f64::from(x);
            assert!((z - x.tanh()).abs() < 1e-14, "{x}");
            assert!((f - exact_sigmoid(-x)).abs() < 1e-14, "{x}");
            assert!((o - exact_sigmoid(0.7 * x)).abs() < 1e-14, "{x}");
        }
        let (z, f, o) = Real::gates(f32::INFINITY, f32::NEG_INFINITY, 1e30);
        assert!(z == 1.0 && f < 1e-11 && o == 1.0, "{z} {f} {o}");
    }

    #[test]
    fn extremes_saturate_and_nan_stays_nan() {
        for x in [f32::INFINITY, 1e30, 500.0] {
            assert_eq!(Real::tanh(x), 1.0);
            assert_eq!(Real::tanh(-x), -1.0);
            assert_eq!(Real::sigmoid(x), 1.0);
            assert!(Real::sigmoid(-x) < 1e-37 && Real::sigmoid(-x) >= 0.0);
        }
        assert!(Real::tanh(f32::NAN).is_nan() && Real::sigmoid(f32::NAN).is_nan());
        assert!(Real::tanh(f64::NAN).is_nan() && Real::exp(f64::NAN).is_nan());
    }
}
