//! The innermost products: a tile of 14 × 32 sums that stay in AVX-512's registers.
//!
//! Both number formats share one shape. A packed panel is a row of 32-bit places for each step of
//! the inner dimension: in single precision a place is a number, in bf16 it is two neighbours of the
//! inner dimension, which one instruction multiplies and adds.

use std::arch::x86_64::*;

/// Rows of a tile: 28 sums, two columns of B and one value of A fill 31 of the 32 registers.
pub(super) const TILE_ROWS: usize = 14;

/// Columns of a tile: two registers.
pub(super) const TILE_COLUMNS: usize = 32;

/// What the sums of a tile are added to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Onto {
    /// Nothing: what C held is overwritten.
    Nothing,
    /// What C holds.
    Itself,
    /// One number a column, from the tile's first.
    Bias(*const f32),
}

/// One tile: `steps` places of a panel of A and a panel of B, and where its sums go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    /// steps × TILE_ROWS places.
    pub a: *const u32,
    /// steps × TILE_COLUMNS places.
    pub b: *const u32,
    pub steps: usize,
    /// The tile's first number.
    pub c: *mut f32,
    /// Numbers from one row of C to the next.
    pub stride: usize,
    /// Rows of C that there are, 1 to TILE_ROWS.
    pub rows: usize,
    /// Columns of C that there are, 1 to TILE_COLUMNS.
    pub columns: usize,
    pub onto: Onto,
}

/// sums + a · b for 16 columns at once: a number in single precision, a pair in bf16.
trait Multiply {
    /// # Safety
    /// The CPU has the instructions of the format.
    unsafe fn multiply_add(a: __m512i, b: __m512i, sums: __m512) -> __m512;
}

struct Single;
struct Bf16;

impl Multiply for Single {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn multiply_add(a: __m512i, b: __m512i, sums: __m512) -> __m512 {
        _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sums)
    }
}

impl Multiply for Bf16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn multiply_add(a: __m512i, b: __m512i, sums: __m512) -> __m512 {
        // SAFETY: both types are 64 bytes without any invalid value.
        unsafe {
            _mm512_dpbf16_ps(
                sums,
                std::mem::transmute::<__m512i, __m512bh>(a),
                std::mem::transmute::<__m512i, __m512bh>(b),
            )
        }
    }
}

macro_rules! tile {
    ($name:ident, $format:ty, $features:literal, $any:ident) => {
        /// # Safety
        /// As [`run`]; the tile has ROWS rows.
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize>(tile: &Tile) {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            let (mut a, mut b) = (tile.a, tile.b);
            // SAFETY: the panels hold `steps` rows; C has the rows and columns that the tile says,
            // and the masks keep out the columns that there are not.
            unsafe {
                for _ in 0..tile.steps {
                    let left = _mm512_loadu_si512(b.cast());
                    let right = _mm512_loadu_si512(b.add(16).cast());
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let value = _mm512_set1_epi32(a.add(row).read() as i32);
                        sums[0] = <$format>::multiply_add(value, left, sums[0]);
                        sums[1] = <$format>::multiply_add(value, right, sums[1]);
                    }
                    a = a.add(TILE_ROWS);
                    b = b.add(TILE_COLUMNS);
                }
                let all = (1u64 << tile.columns) - 1;
                let masks = [all as __mmask16, (all >> 16) as __mmask16];
                for (row, sums) in sums.iter().enumerate() {
                    for half in 0..2 {
                        let at = tile.c.add(row * tile.stride).wrapping_add(16 * half);
                        let before = match tile.onto {
                            Onto::Nothing => _mm512_setzero_ps(),
                            Onto::Itself => _mm512_maskz_loadu_ps(masks[half], at),
                            Onto::Bias(bias) => {
                                _mm512_maskz_loadu_ps(masks[half], bias.wrapping_add(16 * half))
                            }
                        };
                        let sum = _mm512_add_ps(before, sums[half]);
                        _mm512_mask_storeu_ps(at, masks[half], sum);
                    }
                }
            }
        }

        /// # Safety
        /// As [`run`].
        unsafe fn $any(tile: &Tile) {
            // SAFETY: this function's contract, and the number of rows fits.
            unsafe {
                match tile.rows {
                    1 => $name::<1>(tile),
                    2 => $name::<2>(tile),
                    3 => $name::<3>(tile),
                    4 => $name::<4>(tile),
                    5 => $name::<5>(tile),
                    6 => $name::<6>(tile),
                    7 => $name::<7>(tile),
                    8 => $name::<8>(tile),
                    9 => $name::<9>(tile),
                    10 => $name::<10>(tile),
                    11 => $name::<11>(tile),
                    12 => $name::<12>(tile),
                    13 => $name::<13>(tile),
                    _ => $name::<14>(tile),
                }
            }
        }
    };
}

tile!(single, Single, "avx512f", any_single);
tile!(bf16, Bf16, "avx512f,avx512bf16", any_bf16);

/// # Safety
/// The CPU has AVX-512 F, and BF16 where `bf16`; the panels hold `steps` rows, and C has the
/// rows and columns that the tile says, which nobody else touches meanwhile.
pub(super) unsafe fn run(tile: &Tile, bf16: bool) {
    // SAFETY: this function's contract.
    unsafe { if bf16 { any_bf16(tile) } else { any_single(tile) } }
}
