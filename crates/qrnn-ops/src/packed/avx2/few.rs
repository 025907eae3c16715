//! Products with few tokens: words are expanded in registers and multiplied at once.

use std::arch::x86_64::*;

use super::super::cursor::Packed;
use super::super::layout::{GROUP, WORD};
use super::super::output::Epilogue;
use super::super::product::Product;
use super::multiply_add::multiply_add;
use super::words::Words;

/// Computes a product, up to 4 tokens at a time.
///
/// # Safety
/// The processor has the instructions of this module.
pub(super) unsafe fn multiply<F: Packed<Cursor: Words>, E: Epilogue>(
    form: &F,
    product: &Product<'_, E>,
) {
    let mut token = 0;
    while token < product.x.tokens() {
        // SAFETY: by this function's contract; there are as many tokens.
        token += unsafe {
            match product.x.tokens() - token {
                1 => tokens::<F, E, 1>(form, product, token),
                2 | 3 => tokens::<F, E, 2>(form, product, token),
                _ => tokens::<F, E, 4>(form, product, token),
            }
        };
    }
}

/// Computes T tokens and returns T.
#[target_feature(enable = "avx2,popcnt")]
unsafe fn tokens<F: Packed<Cursor: Words>, E: Epilogue, const T: usize>(
    form: &F,
    product: &Product<'_, E>,
    first: usize,
) -> usize {
    let Product { layout, x, epilogue, .. } = product;
    let mut activations = [std::ptr::null(); T];
    for t in 0..T {
        activations[t] = x.token(first + t);
    }
    let rows_per_word = layout.rows_per_word();
    let groups = product.groups();
    let mut words = form.cursor(*layout, groups.start);
    for group in groups {
        let mut sums = [[0; GROUP]; T];
        for accumulator in 0..layout.accumulators() {
            // SAFETY: the groups have these words, and tokens are padded to words.
            let lanes = unsafe { accumulate(&mut words, layout.words() - 1, activations) };
            for t in 0..T {
                let rows = lanes[t].chunks_exact(16 / rows_per_word);
                let to = &mut sums[t][accumulator * rows_per_word..][..rows_per_word];
                for (to, lanes) in to.iter_mut().zip(rows) {
                    *to = lanes.iter().sum();
                }
            }
        }
        for t in 0..T {
            let to = product.target(first + t, group);
            // SAFETY: the lanes are rows of the product, which the output has room for.
            unsafe { epilogue.store_array(&sums[t], group * GROUP, product.lanes(group), to) };
        }
    }
    T
}

/// The lanes of an accumulator for each token: sums over its words.
///
/// # Safety
/// There are so many words and one more, and as many activations.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn accumulate<W: Words, const T: usize>(
    words: &mut W,
    full: usize,
    activations: [*const i8; T],
) -> [[i32; 16]; T] {
    let mut sums = [[_mm256_setzero_si256(); 2]; T];
    let mut lanes = [[0; 16]; T];
    // SAFETY: by this function's contract.
    unsafe {
        let multiply = |sum: __m256i, weights: __m256i, t: usize, at: usize| {
            multiply_add(sum, weights, _mm256_loadu_si256(activations[t].add(at).cast()))
        };
        for at in 0..=full {
            let word = if at < full { words.next::<false>() } else { words.next::<true>() };
            for t in 0..T {
                for i in 0..2 {
                    sums[t][i] = multiply(sums[t][i], word[i], t, at * WORD + i * WORD / 2);
                }
            }
        }
        for t in 0..T {
            for i in 0..2 {
                _mm256_storeu_si256(lanes[t].as_mut_ptr().add(8 * i).cast(), sums[t][i]);
            }
        }
    }
    lanes
}
