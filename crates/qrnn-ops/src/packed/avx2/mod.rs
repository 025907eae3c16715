//! Products with AVX2.
//!
//! `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs with saturation. Given |x| and w
//! with the sign of x, a pair is at most 2 · 127², which does not saturate, so sums are exact.

#![expect(clippy::needless_range_loop, reason = "tiles of registers are indexed by row and token")]

mod few;
mod window;
mod words;

use std::arch::x86_64::*;

use super::form::Packed;
use super::output::Epilogue;
use super::product::{Product, with_scratch};
use words::Words;

/// Tokens from which rearranging the weights pays.
const WINDOW: usize = 8;

/// Computes a product.
///
/// # Safety
/// The processor has [`Instructions::Avx2`](super::Instructions::Avx2).
pub(super) unsafe fn multiply<F: Packed<Cursor: Words>, E: Epilogue>(
    form: &F,
    product: &Product<'_, E>,
) {
    // SAFETY: by this function's contract.
    unsafe {
        if product.x.tokens() < WINDOW {
            few::multiply(form, product);
        } else {
            with_scratch(|scratch| window::multiply(form, product, scratch));
        }
    }
}

/// sum + the products of 32 weights and activations, 4 a lane. The weights are not -128.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn multiply_add(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(weights, x));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}
