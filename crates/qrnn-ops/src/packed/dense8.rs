//! A byte for every element.

use super::aligned::AlignedBytes;
use super::cursor::Packed;
use super::error::{Error, check_codes, check_length};
use super::layout::{BIAS, GROUP, Layout, WORD, stride};

/// The form of a dense matrix in memory: codes plus 128. What lies between rows does not matter,
/// because the activations are 0 there.
#[derive(Debug, Clone)]
pub(super) struct Dense8 {
    bytes: AlignedBytes,
    /// Bytes of an accumulator.
    stride: usize,
}

/// Reads words in order, once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dense8Cursor {
    pub codes: *const u8,
    /// Bytes from an accumulator's last word to the next accumulator.
    pub last_step: usize,
}

impl Dense8 {
    /// From row-major codes.
    pub fn new(layout: Layout, codes: &[i8]) -> Result<Self, Error> {
        check_length("codes", layout.rows * layout.columns, codes.len())?;
        check_codes("codes", codes)?;
        let stride = stride(layout, WORD, layout.last_word());
        let mut bytes = AlignedBytes::zeroed(layout.groups() * layout.accumulators() * stride);
        let row_bytes = stride / layout.rows_per_word();
        let rows = codes.chunks_exact(layout.columns);
        for (row, to) in rows.zip(bytes.chunks_exact_mut(row_bytes)) {
            for (to, &code) in to.iter_mut().zip(row) {
                *to = code as u8 ^ BIAS;
            }
        }
        Ok(Self { bytes, stride })
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Expands a group into rows of `padded` signed codes: the reference.
    pub fn decode(&self, layout: Layout, group: usize, rows: &mut [i8]) {
        rows.fill(0);
        let row_bytes = self.stride / layout.rows_per_word();
        let from = self.bytes[group * GROUP * row_bytes..].chunks_exact(row_bytes);
        for (from, row) in from.zip(rows.chunks_exact_mut(layout.padded)) {
            for (element, &byte) in row.iter_mut().zip(&from[..layout.columns]) {
                *element = (byte ^ BIAS) as i8;
            }
        }
    }
}

impl Packed for Dense8 {
    type Cursor = Dense8Cursor;

    fn cursor(&self, layout: Layout, group: usize) -> Dense8Cursor {
        Dense8Cursor {
            codes: self.bytes[group * layout.accumulators() * self.stride..].as_ptr(),
            last_step: self.stride - (layout.words() - 1) * WORD,
        }
    }
}
