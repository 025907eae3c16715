//! Where a product goes, and what is stored: the exact sums, or scaled sums plus a bias.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ops::Range;

use super::error::{Error, check_length};

/// A block of (tokens, rows) elements to write, contiguous along the rows.
///
/// Threads that share a product by rows each take a part: see [`Output::split_at`].
#[derive(Debug)]
pub struct Output<'a, E> {
    start: *mut E,
    tokens: usize,
    rows: usize,
    stride: usize,
    lifetime: PhantomData<&'a mut [E]>,
}

// SAFETY: an `Output` is an exclusive borrow of its elements, as `&mut [E]` is.
unsafe impl<E: Send> Send for Output<'_, E> {}

impl<'a, E> Output<'a, E> {
    /// All of a row-major (tokens, rows) slice.
    pub fn new(elements: &'a mut [E], rows: usize) -> Result<Self, Error> {
        let tokens = elements.len().checked_div(rows).unwrap_or(0);
        check_length("output", tokens * rows, elements.len())?;
        // SAFETY: the slice has exactly these elements and is borrowed for as long.
        Ok(unsafe { Self::from_raw(elements.as_mut_ptr(), tokens, rows, rows) })
    }

    /// A block of a larger matrix, whose rows lie `stride` elements apart.
    ///
    /// # Safety
    /// Token t's elements, `start + t · stride` on, are writable for `'a` and nothing else accesses
    /// them meanwhile.
    pub unsafe fn from_raw(start: *mut E, tokens: usize, rows: usize, stride: usize) -> Self {
        Self { start, tokens, rows, stride, lifetime: PhantomData }
    }

    /// The first `rows` rows of every token, and the others.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub fn split_at(self, rows: usize) -> (Self, Self) {
        assert!(rows <= self.rows, "split at {rows} of {} rows", self.rows);
        let second = self.start.wrapping_add(rows);
        (Self { rows, ..self }, Self { start: second, rows: self.rows - rows, ..self })
    }

    /// Tokens of the block.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Rows of the block.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements from one token to the next.
    #[inline]
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// The address of a token's first element.
    #[inline]
    pub(super) fn token(&self, token: usize) -> *mut E {
        debug_assert!(token < self.tokens);
        self.start.wrapping_add(token * self.stride)
    }
}

/// Scales and biases of rows: y = sum · scale + bias.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// Factor of each row, (R): the step of its codes times that of the activations.
    pub scale: &'a [f32],
    /// Added to each row, (R).
    pub bias: Option<&'a [f32]>,
}

/// What a kernel does with sums. All instruction sets compute the same f32 operations in the same
/// order, without fused multiply-add.
pub(super) trait Epilogue: Copy {
    /// 4 bytes wide.
    type Element: Copy;

    /// The element of a sum of this row.
    fn finish(self, sum: i32, row: usize) -> Self::Element;

    /// What 16 rows are scaled with.
    #[cfg(target_arch = "x86_64")]
    type Factors: Copy;

    /// Loads the factors of 16 rows of which `lanes` are used.
    ///
    /// # Safety
    /// The processor has AVX-512 F, and the used lanes are rows of the matrix.
    #[cfg(target_arch = "x86_64")]
    unsafe fn factors(self, row: usize, lanes: u16) -> Self::Factors;

    /// The bits of the elements of 16 sums.
    ///
    /// # Safety
    /// The processor has AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    unsafe fn finish_16(factors: Self::Factors, sums: __m512i) -> __m512i;

    /// Stores a range of 16 sums.
    ///
    /// # Safety
    /// The lanes are rows of the matrix, and writable from `to` on; `to` may lie outside its
    /// allocation where lane 0 is not in the range.
    #[inline(always)]
    unsafe fn store_array(
        self,
        sums: &[i32; 16],
        row: usize,
        lanes: Range<usize>,
        to: *mut Self::Element,
    ) {
        for lane in lanes {
            // SAFETY: by this function's contract.
            unsafe { *to.wrapping_add(lane) = self.finish(sums[lane], row + lane) };
        }
    }
}

/// Stores the sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sums;

impl Epilogue for Sums {
    type Element = i32;

    #[inline(always)]
    fn finish(self, sum: i32, _row: usize) -> i32 {
        sum
    }

    #[cfg(target_arch = "x86_64")]
    type Factors = ();

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn factors(self, _row: usize, _lanes: u16) {}

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn finish_16((): (), sums: __m512i) -> __m512i {
        sums
    }
}

impl Epilogue for Affine<'_> {
    type Element = f32;

    #[inline(always)]
    fn finish(self, sum: i32, row: usize) -> f32 {
        let scaled = sum as f32 * self.scale[row];
        match self.bias {
            Some(bias) => scaled + bias[row],
            None => scaled,
        }
    }

    /// Scale and bias. Adding -0, where there is no bias, changes no number.
    #[cfg(target_arch = "x86_64")]
    type Factors = (__m512, __m512);

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn factors(self, row: usize, lanes: u16) -> (__m512, __m512) {
        // Without branches, so that the loops of a tile are unrolled and its sums stay in registers.
        let (bias, bias_lanes) = match self.bias {
            Some(bias) => (bias, lanes),
            None => (self.scale, 0),
        };
        let (scale, bias) =
            (self.scale.as_ptr().wrapping_add(row), bias.as_ptr().wrapping_add(row));
        // SAFETY: used lanes are rows of the matrix, which has that many factors.
        unsafe {
            let scale = _mm512_maskz_loadu_ps(lanes, scale);
            (scale, _mm512_mask_loadu_ps(_mm512_set1_ps(-0.0), bias_lanes, bias))
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn finish_16((scale, bias): (__m512, __m512), sums: __m512i) -> __m512i {
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale);
        _mm512_castps_si512(_mm512_add_ps(scaled, bias))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_output_covers_every_element_once() {
        let mut elements = vec![0; 3 * 5];
        let (first, second) = Output::new(&mut elements, 5).unwrap().split_at(2);
        for (part, value) in [(first, 1), (second, 2)] {
            assert_eq!((part.tokens(), part.rows()), (3, if value == 1 { 2 } else { 3 }));
            for token in 0..part.tokens() {
                for row in 0..part.rows() {
                    // SAFETY: inside the part.
                    unsafe { *part.token(token).add(row) += value };
                }
            }
        }
        assert_eq!(elements, [1, 1, 2, 2, 2].repeat(3));
    }

    #[test]
    fn a_ragged_output_is_refused() {
        assert!(Output::new(&mut [0; 7], 2).is_err());
        assert!(Output::new(&mut [0; 7], 0).is_err());
        assert_eq!(Output::<i32>::new(&mut [], 0).unwrap().tokens(), 0);
    }
}
