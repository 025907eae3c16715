//! A bit for every element, and the codes of the non-zeros.

use super::aligned::AlignedBytes;
use super::cursor::Packed;
use super::error::{Error, check_codes, check_length};
use super::layout::{BIAS, GROUP, Layout, WORD};

/// The form of a sparse matrix in memory: the file's, with the bits of a row (or, where rows share a
/// word, of a word) starting at a byte, and the place of each group's first code.
#[derive(Debug, Clone)]
pub(super) struct Bitmask {
    masks: AlignedBytes,
    /// Bytes of the mask of an accumulator.
    stride: usize,
    /// Codes plus 128.
    codes: AlignedBytes,
    /// The first code of each group.
    offsets: Vec<u32>,
}

/// Reads words in order, once.
#[derive(Debug, Clone, Copy)]
pub(super) struct BitmaskCursor {
    pub masks: *const u8,
    pub codes: *const u8,
    /// Bytes from an accumulator's last word to the next accumulator.
    pub last_step: usize,
    /// Bits of the last word that belong to the accumulator.
    pub last_bits: u64,
}

impl Bitmask {
    /// From the file's form: bit i of byte j stands for element 8j + i of the matrix, and the codes
    /// of the elements that have a bit follow each other.
    pub fn new(layout: Layout, mask: &[u8], codes: &[i8]) -> Result<Self, Error> {
        let elements = layout.rows * layout.columns;
        check_length("mask", elements.div_ceil(8), mask.len())?;
        let used = elements % 8;
        if used != 0 && mask.last().is_some_and(|last| last >> used != 0) {
            return Err(Error::MaskPadding);
        }
        let non_zeros = mask.iter().map(|byte| byte.count_ones() as usize).sum();
        check_length("codes of the mask", non_zeros, codes.len())?;
        check_codes("codes", codes)?;

        let stride = mask_stride(layout);
        let mut masks = AlignedBytes::zeroed(layout.groups() * layout.accumulators() * stride);
        let row_bytes = stride / layout.rows_per_word();
        let mut offsets = Vec::with_capacity(layout.groups());
        let mut offset = 0;
        for (row, bits) in masks.chunks_exact_mut(row_bytes).take(layout.rows).enumerate() {
            if row % GROUP == 0 {
                offsets.push(offset);
            }
            copy_bits(mask, row * layout.columns, layout.columns, bits);
            offset += bits.iter().map(|byte| byte.count_ones()).sum::<u32>();
        }
        let mut biased = AlignedBytes::zeroed(codes.len());
        for (biased, &code) in biased.iter_mut().zip(codes) {
            *biased = code as u8 ^ BIAS;
        }
        Ok(Self { masks, stride, codes: biased, offsets })
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.masks.len() + self.codes.len() + size_of_val(&*self.offsets)
    }

    pub fn non_zeros(&self) -> usize {
        self.codes.len()
    }

    /// Expands a group into rows of `padded` signed codes: the reference.
    pub fn decode(&self, layout: Layout, group: usize, rows: &mut [i8]) {
        rows.fill(0);
        let row_bytes = self.stride / layout.rows_per_word();
        let masks = &self.masks[group * GROUP * row_bytes..][..GROUP * row_bytes];
        let mut codes = self.codes[self.offsets[group] as usize..].iter();
        for (bits, row) in masks.chunks_exact(row_bytes).zip(rows.chunks_exact_mut(layout.padded)) {
            for (byte, elements) in bits.iter().zip(row.chunks_mut(8)) {
                let mut left = *byte;
                while left != 0 {
                    let code = codes.next().map_or(0, |&code| (code ^ BIAS) as i8);
                    elements[left.trailing_zeros() as usize] = code;
                    left &= left - 1;
                }
            }
        }
    }
}

impl Packed for Bitmask {
    type Cursor = BitmaskCursor;

    fn cursor(&self, layout: Layout, group: usize) -> BitmaskCursor {
        let last = layout.last_word();
        BitmaskCursor {
            masks: self.masks[group * layout.accumulators() * self.stride..].as_ptr(),
            codes: self.codes[self.offsets[group] as usize..].as_ptr(),
            last_step: self.stride - (layout.words() - 1) * (WORD / 8),
            last_bits: u64::MAX >> (WORD - last),
        }
    }
}

/// Bytes of the mask of an accumulator: whole bytes, or a word that rows share.
fn mask_stride(layout: Layout) -> usize {
    (layout.words() - 1) * (WORD / 8) + layout.last_word().div_ceil(8)
}

/// Copies `count` bits from bit `first` on to the start of `to`.
fn copy_bits(from: &[u8], first: usize, count: usize, to: &mut [u8]) {
    let byte = |at: usize| from.get(at).copied().unwrap_or(0);
    let (start, shift) = (first / 8, first % 8);
    for (i, to) in to.iter_mut().take(count.div_ceil(8)).enumerate() {
        let pair = u16::from_le_bytes([byte(start + i), byte(start + i + 1)]);
        let bits = (count - 8 * i).min(8);
        *to = (pair >> shift) as u8 & (0xff >> (8 - bits)) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_copied_from_any_place() {
        let from = [0b1011_0010, 0b0110_1101, 0b1110_0001];
        let bit = |i: usize| from[i / 8] >> (i % 8) & 1;
        for first in 0..24 {
            for count in 0..=24 - first {
                let mut to = [0; 4];
                copy_bits(&from, first, count, &mut to);
                for i in 0..32 {
                    let expected = if i < count { bit(first + i) } else { 0 };
                    assert_eq!(to[i / 8] >> (i % 8) & 1, expected, "{first} {count} {i}");
                }
            }
        }
    }

    #[test]
    fn memory_is_about_mask_and_non_zeros() {
        for (rows, columns) in [(64, 1800), (1600, 75), (16_000, 5)] {
            let layout = Layout::new(rows, columns).unwrap();
            let mask = vec![0x11; rows * columns / 8];
            let codes = vec![1; rows * columns / 4];
            let bytes = Bitmask::new(layout, &mask, &codes).unwrap().bytes();
            let file = mask.len() + codes.len();
            // A row of 5 columns has 8 bits of mask, and a group of 16 rows has 4 bytes of offset.
            assert!(bytes < file * 3 / 2, "{columns}: {bytes} of {file}");
        }
    }

    #[test]
    fn wrong_masks_are_refused() {
        let layout = Layout::new(1, 4).unwrap();
        let new = |mask: &[u8], codes: &[i8]| Bitmask::new(layout, mask, codes).map(|_| ());
        assert_eq!(new(&[0b0101], &[1, 2]), Ok(()));
        assert!(matches!(new(&[0b0101], &[1]), Err(Error::Length { .. })));
        assert!(matches!(new(&[0b0101, 0], &[1, 2]), Err(Error::Length { .. })));
        assert_eq!(new(&[0b1_0101], &[1, 2, 3]), Err(Error::MaskPadding));
        assert!(matches!(new(&[0b0101], &[1, i8::MIN]), Err(Error::Code { index: 1, .. })));
    }
}
