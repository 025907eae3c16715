//! Row kernels of cache attention on the CPU, compiled for each instruction set.

use multiversion::multiversion;

use crate::simd::Accum;

/// Independent partial results, which let the compiler vectorize.
const LANES: usize = 16;

/// Elements after which partial sums are accumulated in double precision.
const BLOCK: usize = 4096;

/// An element type with compiled row kernels.
pub(super) trait RowElement: Accum {
    /// The largest score of a row of at least one. A NaN may be ignored here: the sum of exponentials is then NaN.
    fn max(scores: &[Self]) -> Self;

    /// The sum of exp(θ (score - max)).
    fn sum_exponentials(scores: &[Self], max: Self, theta: Self) -> f64;
}

#[inline(always)]
fn max<R: Accum>(scores: &[R]) -> R {
    let larger = |a: R, b: R| if b > a { b } else { a };
    let mut lanes = [scores[0]; LANES];
    let (whole, rest) = scores.as_chunks::<LANES>();
    for scores in whole {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], scores[lane]);
        }
    }
    let max = rest.iter().fold(lanes[0], |a, b| larger(a, *b));
    lanes.into_iter().fold(max, larger)
}

#[inline(always)]
fn sum_exponentials<R: Accum>(scores: &[R], max: R, theta: R) -> f64 {
    let mut sum = 0.0f64;
    for scores in scores.chunks(BLOCK) {
        let mut lanes = [R::default(); LANES];
        let (whole, rest) = scores.as_chunks::<LANES>();
        for scores in whole {
            for lane in 0..LANES {
                lanes[lane] = lanes[lane] + Accum::exp(theta * (scores[lane] - max));
            }
        }
        for score in rest {
            lanes[0] = lanes[0] + Accum::exp(theta * (*score - max));
        }
        for lane in lanes {
            sum += lane.to_f64();
        }
    }
    sum
}

macro_rules! row_element {
    ($element:ty, $max:ident, $sum:ident) => {
        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $max(scores: &[$element]) -> $element {
            max(scores)
        }

        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $sum(scores: &[$element], max: $element, theta: $element) -> f64 {
            sum_exponentials(scores, max, theta)
        }

        impl RowElement for $element {
            fn max(scores: &[Self]) -> Self {
                $max(scores)
            }

            fn sum_exponentials(scores: &[Self], max: Self, theta: Self) -> f64 {
                $sum(scores, max, theta)
            }
        }
    };
}

row_element!(f32, max_f32, sum_f32);
row_element!(f64, max_f64, sum_f64);
