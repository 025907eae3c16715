//! The step of all sums.

use std::arch::x86_64::*;

/// sum + the products of 32 weights and activations, 4 a lane. The weights are not -128.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
pub(super) fn multiply_add(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(weights, x));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}
