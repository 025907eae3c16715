//! Branch-free exponentials, which the compiler vectorizes.

use super::element::Accum;

macro_rules! accum {
    ($accum:ident, mantissa: $mantissa:literal, bias: $bias:literal,
     limits: ($exp:literal, $tanh:literal, $gate:literal),
     ln2: ($ln2_high:expr, $ln2_low:expr), exp: $exp_series:expr, exp2: $exp2_series:expr) => {
        const _: () = {
            const LOG2_E: $accum = std::$accum::consts::LOG2_E;
            /// Adding 1.5 · 2^mantissa rounds to an integer k in the low bits; adding the bias
            /// makes them the exponent of 2^k.
            const ROUND: $accum = 1.5 * (1u64 << $mantissa) as $accum + $bias as $accum;

            /// 2^k of k + ROUND.
            #[inline(always)]
            fn power(shifted: $accum) -> $accum {
                $accum::from_bits(shifted.to_bits() << $mantissa)
            }

            /// Coefficients from the highest power. Pairs of terms in powers of r² halve the
            /// dependency chain (Estrin's scheme).
            #[inline(always)]
            fn polynomial(coefficients: &[$accum], r: $accum) -> $accum {
                let square = r * r;
                let (mut sum, rest) = match coefficients.len() % 2 {
                    0 => (coefficients[0].mul_add(r, coefficients[1]), &coefficients[2..]),
                    _ => (coefficients[0], &coefficients[1..]),
                };
                for pair in rest.chunks_exact(2) {
                    sum = sum.mul_add(square, pair[0].mul_add(r, pair[1]));
                }
                sum
            }

            /// 2^t = scale · (1 + small).
            #[inline(always)]
            fn exp2(t: $accum) -> ($accum, $accum) {
                let shifted = t + ROUND;
                let r = t - (shifted - ROUND);
                (power(shifted), r * polynomial(&$exp2_series, r))
            }

            impl Accum for $accum {
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
                fn mul_add(self, by: Self, plus: Self) -> Self {
                    $accum::mul_add(self, by, plus)
                }

                #[inline(always)]
                fn exp(self) -> Self {
                    let x = self.clamp(-$exp, $exp);
                    let shifted = x.mul_add(LOG2_E, ROUND);
                    let k = shifted - ROUND;
                    // Two constants for ln 2: x - k ln 2 is accurate for large x.
                    let r = k.mul_add(-$ln2_low, k.mul_add(-$ln2_high, x));
                    let small = (r * r).mul_add(polynomial(&$exp_series, r), r);
                    let scale = power(shifted);
                    scale.mul_add(small, scale)
                }

                #[inline(always)]
                fn gates(z: Self, f: Self, o: Self) -> (Self, Self, Self) {
                    let (scale, small) = exp2(z.clamp(-$tanh, $tanh) * (2.0 * LOG2_E));
                    let e = scale.mul_add(small, scale - 1.0);
                    let denominator_z = e + 2.0;
                    let denominator = |x: Self| {
                        let (scale, small) = exp2(x.clamp(-$gate, $gate) * -LOG2_E);
                        scale.mul_add(small, scale + 1.0)
                    };
                    let (denominator_f, denominator_o) = (denominator(f), denominator(o));
                    let product_zf = denominator_z * denominator_f;
                    let inverse = 1.0 / (product_zf * denominator_o);
                    let inverse_zf = inverse * denominator_o;
                    let tanh_z = (e * denominator_f) * inverse_zf;
                    (tanh_z, inverse_zf * denominator_z, inverse * product_zf)
                }
            }
        };
    };
}

// `exp`: polynomial of (exp(r) - 1 - r) / r² over |r| ≤ ln 2 / 2; `exp2`: of (2^r - 1) / r over
// |r| ≤ 1/2. For f32, minimax coefficients with relative errors 3e-9 and 1.1e-8; for f64, Taylor's,
// truncated below half an ulp.
accum!(f32, mantissa: 23, bias: 127, limits: (87.0, 10.0, 28.0),
      ln2: (355.0 / 512.0, -2.121_944_4e-4),
      exp: [1.395_049_2e-3, 8.368_89e-3, 4.166_620_6e-2, 0.166_665_18, 0.5],
      exp2: [1.540_351_2e-4, 1.339_073_5e-3, 9.618_238e-3, 5.550_357_3e-2, 0.240_226_49,
             std::f32::consts::LN_2]);
accum!(f64, mantissa: 52, bias: 1023, limits: (708.0, 20.0, 230.0),
      ln2: (0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10),
      exp: [1.0 / 6_227_020_800.0, 1.0 / 479_001_600.0, 1.0 / 39_916_800.0, 1.0 / 3_628_800.0,
            1.0 / 362_880.0, 1.0 / 40_320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0,
            1.0 / 24.0, 1.0 / 6.0, 0.5],
      exp2: [1.369_148_885_390_412_4e-12, 2.567_843_599_348_82e-11, 4.445_538_271_870_81e-10,
             7.054_911_620_801_121e-9, 1.017_808_600_923_969_6e-7, 1.321_548_679_014_430_5e-6,
             1.525_273_380_405_983_8e-5, 1.540_353_039_338_060_6e-4, 1.333_355_814_642_844_2e-3,
             9.618_129_107_628_477e-3, 5.550_410_866_482_157_6e-2, 0.240_226_506_959_100_7,
             std::f64::consts::LN_2]);

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error relative to the exact value, over a fine grid within ±limit.
    fn max_error<R: Accum>(ours: impl Fn(R) -> R, exact: impl Fn(f64) -> f64, limit: f64) -> f64
    where
        f64: From<R>,
    {
        let n = 200_001;
        let mut max = 0.0f64;
        for i in 0..n {
            let x = R::from_f64(limit * (2.0 * i as f64 / (n - 1) as f64 - 1.0));
            let (ours, exact) = (f64::from(ours(x)), exact(f64::from(x)));
            let error = ((ours - exact) / exact.abs().max(1e-300)).abs();
            if exact != 0.0 {
                // `f64::max` would ignore a NaN.
                max = if error <= max { max } else { error };
            }
        }
        max
    }

    fn exact_sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// The largest error of each gate, while the other gates vary too.
    fn max_gate_errors<R: Accum>(limit: f64) -> [f64; 3]
    where
        f64: From<R>,
    {
        let times = |x: R, factor: f64| R::from_f64(x.to_f64() * factor);
        [
            max_error(|x: R| R::gates(x, times(x, -0.7), times(x, 1.2)).0, f64::tanh, limit),
            max_error(|x: R| R::gates(times(x, 0.4), x, times(x, -1.1)).1, exact_sigmoid, limit),
            max_error(|x: R| R::gates(times(x, -0.6), times(x, 0.9), x).2, exact_sigmoid, limit),
        ]
    }

    #[test]
    fn both_precisions_are_close_to_exact() {
        assert!(max_error(<f32 as Accum>::exp, f64::exp, 80.0) < 4e-7);
        assert!(max_error(<f64 as Accum>::exp, f64::exp, 300.0) < 1e-15);
        // Sigmoids down to exp(-15).
        let [z, f, o] = max_gate_errors::<f32>(15.0);
        assert!(z < 4e-7 && f < 1.5e-6 && o < 1.5e-6, "{z} {f} {o}");
        // Sigmoids that are not small, as most gates.
        let [z, f, o] = max_gate_errors::<f32>(2.0);
        assert!(z < 4e-7 && f < 4e-7 && o < 4e-7, "{z} {f} {o}");
        let [z, f, o] = max_gate_errors::<f64>(30.0);
        assert!(z < 1e-15 && f < 6e-15 && o < 6e-15, "{z} {f} {o}");
    }

    #[test]
    fn extremes_saturate_and_nan_stays_nan() {
        for x in [f32::INFINITY, 1e30, 500.0] {
            let (z, f, o) = Accum::gates(x, -x, x);
            assert!(z == 1.0 && (0.0..1e-11).contains(&f) && o == 1.0, "{z} {f} {o}");
            assert_eq!(Accum::gates(-x, x, x).0, -1.0);
            assert!(Accum::exp(-x) < 1e-37 && Accum::exp(x).is_finite());
        }
        for (z, f, o) in [(f64::NAN, 0.0, 0.0), (0.0, f64::NAN, 0.0), (0.0, 0.0, f64::NAN)] {
            let gates = Accum::gates(z, f, o);
            assert!(gates.0.is_nan() || gates.1.is_nan() || gates.2.is_nan());
        }
        assert!(Accum::exp(f32::NAN).is_nan() && Accum::exp(f64::NAN).is_nan());
    }
}
