//! Products with few tokens: words are expanded in registers and multiplied at once.

use std::arch::x86_64::*;

use super::super::cursor::Packed;
use super::super::layout::{GROUP, WORD};
use super::super::output::Epilogue;
use super::super::product::Product;
use super::store::store;
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
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
unsafe fn tokens<F: Packed<Cursor: Words>, E: Epilogue, const T: usize>(
    form: &F,
    product: &Product<'_, E>,
    first: usize,
) -> usize {
    let Product { layout, x, .. } = product;
    let mut activations = [std::ptr::null(); T];
    for t in 0..T {
        activations[t] = x.token(first + t);
    }
    let full = layout.words() - 1;
    let accumulators = layout.accumulators();
    let groups = product.groups();
    let mut words = form.cursor(*layout, groups.start);
    let mut sums = [[_mm512_setzero_si512(); GROUP]; T];
    for group in groups {
        for accumulator in 0..accumulators {
            // SAFETY: the groups have these words, and tokens are padded to words.
            let sum = unsafe { accumulate(&mut words, full, activations) };
            for t in 0..T {
                sums[t][accumulator] = sum[t];
            }
        }
        let lanes = product.lane_bits(group) as u16;
        // SAFETY: the selected lanes are rows of the product, which the output has room for.
        unsafe {
            let factors = product.epilogue.factors(group * GROUP, lanes);
            for t in 0..T {
                let excess = _mm512_set1_epi32(x.excess()[first + t]);
                let sums = _mm512_sub_epi32(reduce(&mut sums[t], accumulators), excess);
                store(product.target(first + t, group), lanes, E::finish_16(factors, sums));
            }
        }
    }
    T
}

/// The lanes of an accumulator for each token: sums over its words.
///
/// # Safety
/// There are so many words and one more, and as many activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
unsafe fn accumulate<W: Words, const T: usize>(
    words: &mut W,
    full: usize,
    activations: [*const i8; T],
) -> [__m512i; T] {
    // Two sums a token, so that a product need not wait for the one before it.
    let mut sums = [[_mm512_setzero_si512(); 2]; T];
    // SAFETY: by this function's contract.
    unsafe {
        let multiply = |sum: __m512i, word: __m512i, t: usize, at: usize| {
            let x = _mm512_loadu_si512(activations[t].add(at * WORD).cast());
            _mm512_dpbusd_epi32(sum, word, x)
        };
        let mut at = 0;
        while at + 2 <= full {
            for i in 0..2 {
                let word = words.next::<false>();
                for t in 0..T {
                    sums[t][i] = multiply(sums[t][i], word, t, at + i);
                }
            }
            at += 2;
        }
        if at < full {
            let word = words.next::<false>();
            for t in 0..T {
                sums[t][0] = multiply(sums[t][0], word, t, at);
            }
        }
        let word = words.next::<true>();
        for t in 0..T {
            sums[t][1] = multiply(sums[t][1], word, t, full);
        }
    }
    let mut total = [_mm512_setzero_si512(); T];
    for t in 0..T {
        total[t] = _mm512_add_epi32(sums[t][0], sums[t][1]);
    }
    total
}

/// The sums of 16 rows from 2, 4, 8 or 16 accumulators, whose lanes are parts of rows in order.
/// Neighboring lanes are added until a row has one lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
fn reduce(parts: &mut [__m512i; GROUP], accumulators: usize) -> __m512i {
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    let mut n = accumulators;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            let (a, b) = (parts[2 * i], parts[2 * i + 1]);
            parts[i] = _mm512_add_epi32(
                _mm512_permutex2var_epi32(a, even, b),
                _mm512_permutex2var_epi32(a, odd, b),
            );
        }
    }
    parts[0]
}
