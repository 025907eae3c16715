//! Operands laid out as the kernel reads them: panels of a fixed number of lanes (rows of A, columns
//! of B), one row of 32-bit places for each step of the inner dimension.

use std::arch::x86_64::*;

/// Numbers that a lane is asked for before they are needed: the processor does not foresee sixteen
/// lanes at once.
const AHEAD: usize = 128;

/// Steps that are asked for before they are needed, where they lie far apart.
const ROWS_AHEAD: usize = 16;

/// A rectangle of an operand, seen as lanes × inner dimension.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// The first number.
    pub at: *const f32,
    pub lanes: usize,
    /// Length in the inner dimension.
    pub depth: usize,
    /// Numbers from one lane to the next, and from one step to the next; one of them is 1.
    pub lane_stride: usize,
    pub step_stride: usize,
}

/// Places that a source takes in the inner dimension: numbers, or pairs of them.
pub(super) fn steps(depth: usize, bf16: bool) -> usize {
    if bf16 { depth.div_ceil(2) } else { depth }
}

/// Lays a source out as panels of WIDTH lanes, the last filled up with zeros.
///
/// # Safety
/// The CPU has AVX-512 F; the source lies in memory; `out` has room for
/// its panels: lanes, rounded up to WIDTH, times [`steps`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn pack<const WIDTH: usize>(source: Source, bf16: bool, out: *mut u32) {
    let steps = steps(source.depth, bf16);
    for first in (0..source.lanes).step_by(WIDTH) {
        let panel = Source {
            at: source.at.wrapping_add(first * source.lane_stride),
            lanes: (source.lanes - first).min(WIDTH),
            ..source
        };
        let out = out.wrapping_add(first * steps);
        // SAFETY: this function's contract; the panel lies inside the source.
        unsafe {
            if panel.step_stride == 1 {
                along_steps::<WIDTH>(panel, bf16, out);
            } else {
                along_lanes::<WIDTH>(panel, bf16, out);
            }
        }
    }
}

/// The lowest `n` bits; all of them above 16.
fn mask(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { ((1u32 << n) - 1) as __mmask16 }
}

/// Sixteen numbers rounded to bf16, to even where two are as near, each in the low half of its place.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(numbers: __m512) -> __m512i {
    let bits = _mm512_castps_si512(numbers);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
    // Rounding could carry a NaN into an infinity.
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(numbers, numbers);
    _mm512_mask_blend_epi32(nan, rounded, _mm512_set1_epi32(0x7fc0))
}

/// A panel whose lanes lie side by side.
///
/// # Safety
/// As [`pack`], for one panel.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn along_lanes<const WIDTH: usize>(panel: Source, bf16: bool, out: *mut u32) {
    let (stride, stop) = (panel.step_stride, steps(panel.depth, bf16));
    for lane in (0..WIDTH).step_by(16) {
        let from = mask(panel.lanes.saturating_sub(lane));
        let to = mask(WIDTH - lane);
        // SAFETY: masked loads stay within the panel's lanes, masked stores within its width.
        unsafe {
            for step in 0..stop {
                let row = |step: usize| {
                    let inside = if step < panel.depth { from } else { 0 };
                    let at = panel.at.wrapping_add(step * stride + lane);
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(ROWS_AHEAD * stride).cast());
                    _mm512_maskz_loadu_ps(inside, at)
                };
                let places = if bf16 {
                    pair(row(2 * step), row(2 * step + 1))
                } else {
                    _mm512_castps_si512(row(step))
                };
                let at = out.add(step * WIDTH + lane).cast();
                _mm512_mask_storeu_epi32(at, to, places);
            }
        }
    }
}

/// Pairs of bf16: the earlier step in the low half.
#[inline]
#[target_feature(enable = "avx512f")]
fn pair(low: __m512, high: __m512) -> __m512i {
    _mm512_or_si512(halves(low), _mm512_slli_epi32::<16>(halves(high)))
}

/// 32 numbers along the inner dimension as 16 pairs.
#[inline]
#[target_feature(enable = "avx512f")]
fn pairs_along(low: __m512, high: __m512) -> __m512i {
    let (low, high) = (_mm512_cvtepi32_epi16(halves(low)), _mm512_cvtepi32_epi16(halves(high)));
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// A panel whose steps lie side by side: blocks of 16 × 16 places are transposed.
///
/// # Safety
/// As [`pack`], for one panel.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn along_steps<const WIDTH: usize>(panel: Source, bf16: bool, out: *mut u32) {
    let stop = steps(panel.depth, bf16);
    for lane in (0..WIDTH).step_by(16) {
        let lanes = panel.lanes.saturating_sub(lane).min(16);
        let to = mask(WIDTH - lane);
        for first in (0..stop).step_by(16) {
            let mut block = [_mm512_setzero_si512(); 16];
            // SAFETY: masked loads stay within the panel's depth, masked stores within its width.
            unsafe {
                for (i, places) in block.iter_mut().enumerate().take(lanes) {
                    let from = panel.at.wrapping_add((lane + i) * panel.lane_stride);
                    let load = |step: usize| {
                        let inside = mask(panel.depth.saturating_sub(step));
                        _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(step + AHEAD).cast());
                        _mm512_maskz_loadu_ps(inside, from.wrapping_add(step))
                    };
                    *places = if bf16 {
                        pairs_along(load(2 * first), load(2 * first + 16))
                    } else {
                        _mm512_castps_si512(load(first))
                    };
                }
                let block = transposed(block);
                for (i, &places) in block.iter().enumerate().take(stop - first) {
                    let at = out.add((first + i) * WIDTH + lane).cast();
                    _mm512_mask_storeu_epi32(at, to, places);
                }
            }
        }
    }
}

/// A block of 16 × 16 places, rows and columns exchanged: pairs of rows, then of pairs, then whole
/// quarters of the registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut twos = rows;
    for i in 0..8 {
        twos[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        twos[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = twos;
    for i in 0..4 {
        for k in 0..2 {
            let (low, high) = (twos[4 * i + k], twos[4 * i + 2 + k]);
            fours[4 * i + 2 * k] = _mm512_unpacklo_epi64(low, high);
            fours[4 * i + 2 * k + 1] = _mm512_unpackhi_epi64(low, high);
        }
    }
    // fours[4 i + j] has in its quarter q the column 4 q + j of the rows 4 i to 4 i + 3.
    let mut out = rows;
    for j in 0..4 {
        let low = _mm512_shuffle_i32x4::<0b10_00_10_00>(fours[j], fours[4 + j]);
        let low_odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(fours[j], fours[4 + j]);
        let high = _mm512_shuffle_i32x4::<0b10_00_10_00>(fours[8 + j], fours[12 + j]);
        let high_odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(fours[8 + j], fours[12 + j]);
        out[j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(low, high);
        out[8 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(low, high);
        out[4 + j] = _mm512_shuffle_i32x4::<0b10_00_10_00>(low_odd, high_odd);
        out[12 + j] = _mm512_shuffle_i32x4::<0b11_01_11_01>(low_odd, high_odd);
    }
    out
}
