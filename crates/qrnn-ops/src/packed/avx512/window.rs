//! Products with a window of tokens: blocks of rows are expanded into a panel once and multiplied
//! with all tokens, in tiles of registers.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::cursor::Packed;
use super::super::layout::{GROUP, Layout, WORD};
use super::super::output::Epilogue;
use super::super::product::{Product, Scratch};
use super::store::store;
use super::words::Words;

/// Groups of a panel.
const GROUPS: usize = 4;

/// Tokens of a tile: 4 · 6 sums, 4 weights and an activation fill the 32 registers.
const TOKENS: usize = 6;

/// Bytes of panels that are multiplied with a tile's tokens in turn: a quarter of a usual L2 cache.
const BLOCK: usize = 256 << 10;

/// The most panels of a block.
const PANELS: usize = 16;

/// Bytes of a group in a panel for 4 columns: a register.
const STEP: usize = 4 * GROUP;

/// Repeats a block for each t below T. The compiler would unroll a long loop too late to keep an array
/// that it indexes in registers.
macro_rules! unrolled {
    ($t:ident < $end:ident in $($index:literal)* $block:block) => {
        $(if $index < $end {
            let $t: usize = $index;
            $block
        })*
    };
}

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
    let steps = layout.padded.div_ceil(4);
    let panel_bytes = GROUPS * steps * STEP;
    let panels = (BLOCK / panel_bytes).clamp(1, PANELS);
    scratch.group.resize(GROUP * layout.padded);
    scratch.panel.resize(panels * panel_bytes);
    let groups = product.groups();
    let mut words = form.cursor(layout, groups.start);
    for first in groups.clone().step_by(panels * GROUPS) {
        let block = first..groups.end.min(first + panels * GROUPS);
        for (first, panel) in
            block.clone().step_by(GROUPS).zip(scratch.panel.chunks_exact_mut(panel_bytes))
        {
            let n = GROUPS.min(block.end - first);
            for i in 0..n {
                // SAFETY: by this function's contract; the buffers have room for the groups.
                unsafe {
                    expand(&mut words, layout, &mut scratch.group);
                    interleave(layout, &scratch.group, &mut panel[i * STEP..], n * STEP);
                }
            }
        }
        // SAFETY: by this function's contract; the panels hold the groups of the block.
        unsafe { tiles(product, block, &scratch.panel, panel_bytes) };
    }
}

/// Expands the next group to rows of `padded` bytes.
///
/// # Safety
/// The processor has the instructions of this module, and there is such a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
unsafe fn expand<W: Words>(words: &mut W, layout: Layout, rows: &mut [u8]) {
    for accumulator in rows.chunks_exact_mut(layout.words() * WORD) {
        let words_of_row = accumulator.as_chunks_mut::<WORD>().0;
        let Some((last, others)) = words_of_row.split_last_mut() else { continue };
        // SAFETY: the group has these words; a chunk has the size of one.
        unsafe {
            for word in others {
                _mm512_storeu_si512(word.as_mut_ptr().cast(), words.next::<false>());
            }
            _mm512_storeu_si512(last.as_mut_ptr().cast(), words.next::<true>());
        }
    }
}

/// Copies 4 bytes of each of 16 rows to the panel, column by column, every `stride` bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
fn interleave(layout: Layout, rows: &[u8], panel: &mut [u8], stride: usize) {
    let padded = layout.padded;
    if padded < WORD {
        for step in 0..layout.steps() {
            for row in 0..GROUP {
                panel[step * stride + 4 * row..][..4]
                    .copy_from_slice(&rows[row * padded + 4 * step..][..4]);
            }
        }
        return;
    }
    assert!(rows.len() >= GROUP * padded);
    assert!(panel.len() >= (layout.words() * GROUP - 1) * stride + STEP);
    for word in 0..layout.words() {
        let mut lines = [_mm512_setzero_si512(); GROUP];
        // SAFETY: the buffers are as large as this, see above.
        unsafe {
            for row in 0..GROUP {
                let from = rows.as_ptr().add(row * padded + word * WORD);
                lines[row] = _mm512_loadu_si512(from.cast());
            }
            let lines = shuffle(shuffle(shuffle(shuffle(lines))));
            for i in 0..GROUP {
                let to = panel.as_mut_ptr().add((word * GROUP + i) * stride);
                _mm512_storeu_si512(to.cast(), lines[i]);
            }
        }
    }
}

/// A perfect shuffle of the lanes of 16 lines: lanes of the first half and of the second half take
/// turns. Four shuffles transpose 16 x 16 lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
fn shuffle(from: [__m512i; GROUP]) -> [__m512i; GROUP] {
    let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    let mut to = from;
    for i in 0..GROUP / 2 {
        let (a, b) = (from[i], from[i + GROUP / 2]);
        to[2 * i] = _mm512_permutex2var_epi32(a, low, b);
        to[2 * i + 1] = _mm512_permutex2var_epi32(a, high, b);
    }
    to
}

/// Multiplies the panels of some groups with all tokens.
///
/// # Safety
/// The processor has the instructions of this module, and the panels, of so many bytes, hold the
/// groups, four each.
unsafe fn tiles<E: Epilogue>(
    product: &Product<'_, E>,
    groups: Range<usize>,
    panels: &[u8],
    panel_bytes: usize,
) {
    let tokens = product.x.tokens();
    let mut token = 0;
    while token < tokens {
        let n = match tokens - token {
            TOKENS.. => TOKENS,
            4 | 5 => 4,
            2 | 3 => 2,
            _ => 1,
        };
        for (first, panel) in groups.clone().step_by(GROUPS).zip(panels.chunks_exact(panel_bytes)) {
            // SAFETY: by this function's contract; there are as many tokens.
            unsafe {
                match (groups.end - first, n) {
                    (GROUPS.., TOKENS) => tile::<E, GROUPS, TOKENS>(product, first, panel, token),
                    (GROUPS.., 4) => tile::<E, GROUPS, 4>(product, first, panel, token),
                    (GROUPS.., 2) => tile::<E, GROUPS, 2>(product, first, panel, token),
                    (GROUPS.., _) => tile::<E, GROUPS, 1>(product, first, panel, token),
                    (3, TOKENS) => tile::<E, 3, TOKENS>(product, first, panel, token),
                    (3, 4) => tile::<E, 3, 4>(product, first, panel, token),
                    (3, 2) => tile::<E, 3, 2>(product, first, panel, token),
                    (3, _) => tile::<E, 3, 1>(product, first, panel, token),
                    (2, TOKENS) => tile::<E, 2, TOKENS>(product, first, panel, token),
                    (2, 4) => tile::<E, 2, 4>(product, first, panel, token),
                    (2, 2) => tile::<E, 2, 2>(product, first, panel, token),
                    (2, _) => tile::<E, 2, 1>(product, first, panel, token),
                    (_, TOKENS) => tile::<E, 1, TOKENS>(product, first, panel, token),
                    (_, 4) => tile::<E, 1, 4>(product, first, panel, token),
                    (_, 2) => tile::<E, 1, 2>(product, first, panel, token),
                    (_, _) => tile::<E, 1, 1>(product, first, panel, token),
                }
            }
        }
        token += n;
    }
}

/// Multiplies a panel of G groups with T tokens.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
unsafe fn tile<E: Epilogue, const G: usize, const T: usize>(
    product: &Product<'_, E>,
    first: usize,
    panel: &[u8],
    token: usize,
) {
    let x = product.x;
    let mut sums = [[_mm512_setzero_si512(); G]; T];
    let (mut weights, mut activations) = (panel.as_ptr(), x.token(token));
    for _ in 0..product.layout.steps() {
        // SAFETY: the panel has G registers a step; tokens are padded to steps.
        unsafe {
            let mut w = [_mm512_setzero_si512(); G];
            for g in 0..G {
                w[g] = _mm512_loadu_si512(weights.add(g * STEP).cast());
            }
            for t in 0..T {
                let four = activations.add(t * x.stride()).cast::<i32>().read_unaligned();
                for g in 0..G {
                    sums[t][g] = _mm512_dpbusd_epi32(sums[t][g], w[g], _mm512_set1_epi32(four));
                }
            }
            weights = weights.add(G * STEP);
            activations = activations.add(4);
        }
    }
    // Copies, because the compiler cannot know that the stores do not change their originals.
    let (epilogue, start, stride) =
        (product.epilogue, product.target(token, first), product.out.stride());
    let lanes = product.lane_bits(first);
    unrolled!(t < T in 0 1 2 3 4 5 {
        let excess = _mm512_set1_epi32(x.excess()[token + t]);
        for g in 0..G {
            let lanes = (lanes >> (g * GROUP)) as u16;
            let to = start.wrapping_add(t * stride + g * GROUP);
            // SAFETY: the selected lanes are rows of the product, which the output has room for.
            unsafe {
                let factors = epilogue.factors((first + g) * GROUP, lanes);
                let elements = E::finish_16(factors, _mm512_sub_epi32(sums[t][g], excess));
                store(to, lanes, elements);
            }
        }
    });
}
