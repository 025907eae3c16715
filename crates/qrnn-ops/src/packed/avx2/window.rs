//! Products with a window of tokens: a group of rows is expanded into a panel once and multiplied
//! with all tokens, in tiles of registers.

use std::arch::x86_64::*;

use super::super::cursor::Packed;
use super::super::layout::{GROUP, Layout, WORD};
use super::super::output::Epilogue;
use super::super::product::{Product, Scratch};
use super::multiply_add::multiply_add;
use super::words::Words;

/// Tokens of a tile: 2 · 4 sums, 2 weights and what a product needs fill the 16 registers.
const TOKENS: usize = 4;

/// Bytes of a group in a panel for 4 columns: two registers.
const STEP: usize = 4 * GROUP;

/// Computes a product.
///
/// # Safety
/// The processor has the instructions of this module.
pub(super) unsafe fn multiply<F: Packed<Cursor: Words>, E: Epilogue>(
    form: &F,
    product: &Product<'_, E>,
    scratch: &mut Scratch,
) {
    let layout = product.layout;
    scratch.group.resize(GROUP * layout.padded);
    scratch.panel.resize(layout.steps() * STEP);
    let tokens = product.x.tokens();
    let groups = product.groups();
    let mut words = form.cursor(layout, groups.start);
    for group in groups {
        // SAFETY: by this function's contract; the buffers have room for the group.
        unsafe { expand(&mut words, layout, &mut scratch.group) };
        interleave(layout, &scratch.group, &mut scratch.panel);
        let mut token = 0;
        while token < tokens {
            // SAFETY: by this function's contract; there are as many tokens.
            token += unsafe {
                match tokens - token {
                    TOKENS.. => tile::<E, TOKENS>(product, group, &scratch.panel, token),
                    2 | 3 => tile::<E, 2>(product, group, &scratch.panel, token),
                    _ => tile::<E, 1>(product, group, &scratch.panel, token),
                }
            };
        }
    }
}

/// Expands the next group to rows of `padded` bytes.
///
/// # Safety
/// The processor has the instructions of this module, and there is such a group.
#[target_feature(enable = "avx2,popcnt")]
unsafe fn expand<W: Words>(words: &mut W, layout: Layout, rows: &mut [u8]) {
    let last = layout.words() - 1;
    for (i, to) in rows.chunks_exact_mut(WORD).enumerate() {
        // SAFETY: the group has these words; a chunk has the size of one.
        unsafe {
            let word = if i % layout.words() == last {
                words.next::<true>()
            } else {
                words.next::<false>()
            };
            _mm256_storeu_si256(to.as_mut_ptr().cast(), word[0]);
            _mm256_storeu_si256(to.as_mut_ptr().add(WORD / 2).cast(), word[1]);
        }
    }
}

/// Copies 4 bytes of each of 16 rows to the panel, column by column.
fn interleave(layout: Layout, rows: &[u8], panel: &mut [u8]) {
    for (row, from) in rows.chunks_exact(layout.padded).enumerate() {
        let (from, _) = from.as_chunks::<4>();
        for (from, to) in from.iter().zip(panel.chunks_exact_mut(STEP)) {
            to[4 * row..][..4].copy_from_slice(from);
        }
    }
}

/// Multiplies a panel with T tokens and returns T.
#[target_feature(enable = "avx2,popcnt")]
unsafe fn tile<E: Epilogue, const T: usize>(
    product: &Product<'_, E>,
    group: usize,
    panel: &[u8],
    token: usize,
) -> usize {
    let x = product.x;
    let mut sums = [[_mm256_setzero_si256(); 2]; T];
    let (mut weights, mut activations) = (panel.as_ptr(), x.token(token));
    for _ in 0..product.layout.steps() {
        // SAFETY: the panel has two registers a step; tokens are padded to steps.
        unsafe {
            let low = _mm256_loadu_si256(weights.cast());
            let high = _mm256_loadu_si256(weights.add(STEP / 2).cast());
            for t in 0..T {
                let four = activations.add(t * x.stride()).cast::<i32>().read_unaligned();
                let four = _mm256_set1_epi32(four);
                sums[t][0] = multiply_add(sums[t][0], low, four);
                sums[t][1] = multiply_add(sums[t][1], high, four);
            }
            weights = weights.add(STEP);
            activations = activations.add(4);
        }
    }
    for t in 0..T {
        let mut lanes = [0; GROUP];
        let to = product.target(token + t, group);
        // SAFETY: two registers hold the 16 sums; the lanes that are stored are rows of the
        // product, which the output has room for.
        unsafe {
            _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums[t][0]);
            _mm256_storeu_si256(lanes.as_mut_ptr().add(8).cast(), sums[t][1]);
            product.epilogue.store_array(&lanes, group * GROUP, product.lanes(group), to);
        }
    }
    T
}
