//! Expanding words of packed weights to 64 signed bytes.

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
    unsafe fn next<const LAST: bool>(&mut self) -> [__m256i; 2];
}

/// For each byte of a mask, the indices of the codes that its elements take; 0x80 gives 0.
static PLACES: [[u8; 8]; 256] = places();

const fn places() -> [[u8; 8]; 256] {
    let mut places = [[0x80; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut bit, mut code) = (0, 0);
        while bit < 8 {
            if mask >> bit & 1 == 1 {
                places[mask][bit] = code;
                code += 1;
            }
            bit += 1;
        }
        mask += 1;
    }
    places
}

/// 16 elements: the next codes where the mask has bits, 0 elsewhere. Advances the codes.
///
/// # Safety
/// 16 bytes may be read from any of the next codes on.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn expand(codes: &mut *const u8, mask: u16) -> __m128i {
    let [low, high] = mask.to_le_bytes();
    // SAFETY: by this function's contract; the table's entries have 8 bytes.
    unsafe {
        let first = _mm_loadl_epi64(codes.cast());
        *codes = codes.add(low.count_ones() as usize);
        let second = _mm_loadl_epi64(codes.cast());
        *codes = codes.add(high.count_ones() as usize);
        let signed = _mm_xor_si128(_mm_unpacklo_epi64(first, second), _mm_set1_epi8(BIAS as i8));
        let first = _mm_loadl_epi64(PLACES[usize::from(low)].as_ptr().cast());
        let second = _mm_loadl_epi64(PLACES[usize::from(high)].as_ptr().cast());
        let places = _mm_unpacklo_epi64(first, second);
        _mm_shuffle_epi8(signed, _mm_add_epi8(places, _mm_set_epi64x(0x0808_0808_0808_0808, 0)))
    }
}

impl Words for BitmaskCursor {
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    unsafe fn next<const LAST: bool>(&mut self) -> [__m256i; 2] {
        // SAFETY: by this function's contract; 8 bytes may be read from any byte of the mask on, and
        // 64 from any code on.
        unsafe {
            let mut mask = self.masks.cast::<u64>().read_unaligned();
            if LAST {
                mask &= self.last_bits;
            }
            self.masks = self.masks.add(if LAST { self.last_step } else { WORD / 8 });
            let a = expand(&mut self.codes, mask as u16);
            let b = expand(&mut self.codes, (mask >> 16) as u16);
            let c = expand(&mut self.codes, (mask >> 32) as u16);
            let d = expand(&mut self.codes, (mask >> 48) as u16);
            [_mm256_set_m128i(b, a), _mm256_set_m128i(d, c)]
        }
    }
}

impl Words for Dense8Cursor {
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    unsafe fn next<const LAST: bool>(&mut self) -> [__m256i; 2] {
        let bias = _mm256_set1_epi8(BIAS as i8);
        // SAFETY: by this function's contract; 64 bytes may be read from any code on.
        unsafe {
            let low = _mm256_loadu_si256(self.codes.cast());
            let high = _mm256_loadu_si256(self.codes.add(WORD / 2).cast());
            self.codes = self.codes.add(if LAST { self.last_step } else { WORD });
            [_mm256_xor_si256(low, bias), _mm256_xor_si256(high, bias)]
        }
    }
}

impl Words for Codes4Cursor {
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    unsafe fn next<const LAST: bool>(&mut self) -> [__m256i; 2] {
        // SAFETY: by this function's contract; 32 bytes may be read from any index on.
        unsafe {
            let book = _mm_loadu_si128(self.book.as_ptr().cast());
            let book = _mm_xor_si128(book, _mm_set1_epi8(BIAS as i8));
            let book = _mm256_broadcastsi128_si256(book);
            let bytes = _mm256_loadu_si256(self.indices.cast());
            self.indices = self.indices.add(if LAST { self.last_step } else { WORD / 2 });
            let low = _mm256_and_si256(bytes, _mm256_set1_epi8(15));
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(15));
            [_mm256_shuffle_epi8(book, low), _mm256_shuffle_epi8(book, high)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_the_bits_below() {
        assert_eq!(PLACES[0b1010_0110], [0x80, 0, 1, 0x80, 0x80, 2, 0x80, 3]);
        assert_eq!(PLACES[0], [0x80; 8]);
        assert_eq!(PLACES[255], [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
