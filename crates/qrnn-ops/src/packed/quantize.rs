//! Activations as 8-bit codes.

use super::error::{Error, check_instructions, check_length};
use super::instructions::Instructions;

/// Adding 1.5 · 2²³ rounds a number below 2²² to an integer, ties to even, in the low bits.
const ROUND: f32 = 1.5 * (1 << 23) as f32;

/// Writes the codes of `x`: x · inverse_step, rounded to nearest, ties to even, clamped to ±127. NaN
/// becomes 0. Returns whether all of `x` is finite.
pub fn quantize(x: &[f32], inverse_step: f32, codes: &mut [i8]) -> Result<bool, Error> {
    quantize_with(Instructions::best(), x, inverse_step, codes)
}

/// [`quantize`] with these instructions.
pub fn quantize_with(
    instructions: Instructions,
    x: &[f32],
    inverse_step: f32,
    codes: &mut [i8],
) -> Result<bool, Error> {
    check_length("codes", x.len(), codes.len())?;
    check_step(inverse_step)?;
    Ok(dispatch(check_instructions(instructions)?, x, inverse_step, codes))
}

/// Fails unless the inverse of a step is positive and finite.
pub(super) fn check_step(inverse_step: f32) -> Result<(), Error> {
    if inverse_step > 0.0 && inverse_step.is_finite() { Ok(()) } else { Err(Error::Step) }
}

/// [`quantize`] without checks; the instructions are available.
pub(super) fn dispatch(
    instructions: Instructions,
    x: &[f32],
    inverse_step: f32,
    codes: &mut [i8],
) -> bool {
    match instructions {
        // SAFETY: the instructions are available.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => unsafe { avx512(x, inverse_step, codes) },
        // SAFETY: the instructions are available.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { avx2(x, inverse_step, codes) },
        _ => plain(x, inverse_step, codes),
    }
}

/// The loop that is compiled for each instruction set. Clamping first gives the same codes, because
/// the limits are integers, and makes the rounding exact.
#[inline(always)]
fn plain(x: &[f32], inverse_step: f32, codes: &mut [i8]) -> bool {
    let mut finite = true;
    for (&x, code) in x.iter().zip(codes) {
        finite &= x.is_finite();
        let scaled = x * inverse_step;
        let scaled = if scaled.is_nan() { 0.0 } else { scaled };
        *code = (scaled.clamp(-127.0, 127.0) + ROUND).to_bits() as i8;
    }
    finite
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn avx512(x: &[f32], inverse_step: f32, codes: &mut [i8]) -> bool {
    plain(x, inverse_step, codes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(x: &[f32], inverse_step: f32, codes: &mut [i8]) -> bool {
    plain(x, inverse_step, codes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition.
    fn code(x: f32, inverse_step: f32) -> i8 {
        (x * inverse_step).round_ties_even().clamp(-127.0, 127.0) as i8
    }

    fn assert_all_sets(x: &[f32], inverse_step: f32) {
        let expected: Vec<i8> = x.iter().map(|&x| code(x, inverse_step)).collect();
        let finite = x.iter().all(|x| x.is_finite());
        for set in Instructions::available() {
            let mut codes = vec![99; x.len()];
            let flag = quantize_with(set, x, inverse_step, &mut codes).unwrap();
            assert_eq!(codes, expected, "{set:?}");
            assert_eq!(flag, finite, "{set:?}");
        }
    }

    #[test]
    fn ties_extremes_and_nan_follow_the_definition() {
        let mut x: Vec<f32> = (-600..600).map(|i| i as f32 / 4.0).collect();
        x.extend([f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, -0.0, 126.5, 127.5]);
        for scale in [1.0, 127.0, 0.37, 1e30, 1e-30] {
            assert_all_sets(&x, scale);
        }
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for length in [1, 17, 100] {
                for place in [0, length / 2, length - 1] {
                    let mut x = vec![1.5; length];
                    x[place] = special;
                    assert_all_sets(&x, 2.0);
                }
            }
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        assert!(quantize(&[1.0], 1.0, &mut []).is_err());
        for step in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(quantize(&[1.0], step, &mut [0]), Err(Error::Step));
        }
    }

    proptest! {
        #[test]
        fn all_sets_follow_the_definition(
            bits in prop::collection::vec(any::<u32>(), 0..300),
            step in 1e-3f32..1e3,
        ) {
            let any: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
            assert_all_sets(&any, step);
            let moderate: Vec<f32> = bits.iter().map(|&bits| bits as i32 as f32 / 1e7).collect();
            assert_all_sets(&moderate, step);
        }
    }
}
