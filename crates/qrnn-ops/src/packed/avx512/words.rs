//! Expanding words of packed weights to 64 unsigned bytes: codes plus 128.

use std::arch::x86_64::*;

use super::super::bitmask::BitmaskCursor;
use super::super::codes4::Codes4Cursor;
use super::super::dense8::Dense8Cursor;
use super::super::layout::{BIAS, WORD};

/// Reads words in order.
pub(in super::super) trait Words {
    /// The next word, which is an accumulator's last or not.
    ///
    /// # Safety
    /// There is such a word, and the processor has the instructions of this module.
    unsafe fn next<const LAST: bool>(&mut self) -> __m512i;
}

/// Bytes that codes are prefetched ahead. Their irregular steps escape the processor's own prefetch:
/// this saves a fifth of the time at 50 % zeros, where codes come from memory.
const AHEAD: usize = 2048;

impl Words for BitmaskCursor {
    /// A word of zeros (128) with the next codes where the mask has bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
    unsafe fn next<const LAST: bool>(&mut self) -> __m512i {
        // SAFETY: by this function's contract; 8 bytes may be read from any byte of the mask on, and
        // 64 from any code on.
        unsafe {
            let mut mask = self.masks.cast::<u64>().read_unaligned();
            if LAST {
                mask &= self.last_bits;
            }
            self.masks = self.masks.add(if LAST { self.last_step } else { WORD / 8 });
            let codes = _mm512_loadu_si512(self.codes.cast());
            _mm_prefetch::<_MM_HINT_T0>(self.codes.wrapping_add(AHEAD).cast());
            self.codes = self.codes.add(mask.count_ones() as usize);
            _mm512_mask_expand_epi8(_mm512_set1_epi8(BIAS as i8), mask, codes)
        }
    }
}

impl Words for Dense8Cursor {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
    unsafe fn next<const LAST: bool>(&mut self) -> __m512i {
        // SAFETY: by this function's contract; 64 bytes may be read from any code on.
        unsafe {
            let word = _mm512_loadu_si512(self.codes.cast());
            self.codes = self.codes.add(if LAST { self.last_step } else { WORD });
            word
        }
    }
}

impl Words for Codes4Cursor {
    /// The entries of 64 indices. `vpermb` takes the low 6 bits of a byte as index, so 4 copies of
    /// the book make the upper 2, which belong to a neighbor, meaningless.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,popcnt")]
    unsafe fn next<const LAST: bool>(&mut self) -> __m512i {
        // SAFETY: by this function's contract; 32 bytes may be read from any index on.
        unsafe {
            let book = _mm512_broadcast_i32x4(_mm_loadu_si128(self.book.as_ptr().cast()));
            let bytes = _mm512_broadcast_i64x4(_mm256_loadu_si256(self.indices.cast()));
            self.indices = self.indices.add(if LAST { self.last_step } else { WORD / 2 });
            let shifts = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4);
            _mm512_permutexvar_epi8(_mm512_srlv_epi64(bytes, shifts), book)
        }
    }
}
