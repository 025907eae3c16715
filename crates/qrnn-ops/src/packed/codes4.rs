//! 4 bits for every element: its index in a book of 16 codes.

use super::aligned::AlignedBytes;
use super::cursor::Packed;
use super::error::{Error, check_codes, check_length};
use super::layout::{BIAS, GROUP, Layout, WORD, stride};

/// Bytes of a word: byte i holds element i in its low half and element 32 + i in its high half.
const BYTES: usize = WORD / 2;

/// The form of a dense matrix of 4-bit codes in memory. What lies between rows does not matter,
/// because the activations are 0 there.
#[derive(Debug, Clone)]
pub(super) struct Codes4 {
    bytes: AlignedBytes,
    /// Bytes of an accumulator.
    stride: usize,
    /// Entries plus 128.
    book: [u8; 16],
}

/// Reads words in order, once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codes4Cursor {
    pub indices: *const u8,
    /// Bytes from an accumulator's last word to the next accumulator.
    pub last_step: usize,
    /// Entries plus 128.
    pub book: [u8; 16],
}

impl Codes4 {
    /// From the file's form: row-major indices, two a byte, the lower half first.
    pub fn new(layout: Layout, indices: &[u8], book: &[i8; 16]) -> Result<Self, Error> {
        let elements = layout.rows * layout.columns;
        check_length("4-bit codes", elements.div_ceil(2), indices.len())?;
        check_codes("book", book)?;
        let stride = stride(layout, BYTES, layout.last_word().min(BYTES));
        let mut bytes = AlignedBytes::zeroed(layout.groups() * layout.accumulators() * stride);
        for row in 0..layout.rows {
            for column in 0..layout.columns {
                let element = row * layout.columns + column;
                let index = indices[element / 2] >> (element % 2 * 4) & 15;
                let (byte, shift) = place(layout, stride, row, column);
                bytes[byte] |= index << shift;
            }
        }
        Ok(Self { bytes, stride, book: book.map(|code| code as u8 ^ BIAS) })
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Expands a group into rows of `padded` signed codes: the reference.
    pub fn decode(&self, layout: Layout, group: usize, rows: &mut [i8]) {
        rows.fill(0);
        for (i, row) in rows.chunks_exact_mut(layout.padded).enumerate() {
            for (column, element) in row[..layout.columns].iter_mut().enumerate() {
                let (byte, shift) = place(layout, self.stride, group * GROUP + i, column);
                let index = self.bytes[byte] >> shift & 15;
                *element = (self.book[usize::from(index)] ^ BIAS) as i8;
            }
        }
    }
}

impl Packed for Codes4 {
    type Cursor = Codes4Cursor;

    fn cursor(&self, layout: Layout, group: usize) -> Codes4Cursor {
        Codes4Cursor {
            indices: self.bytes[group * layout.accumulators() * self.stride..].as_ptr(),
            last_step: self.stride - (layout.words() - 1) * BYTES,
            book: self.book,
        }
    }
}

/// The byte and the shift of an element.
fn place(layout: Layout, stride: usize, row: usize, column: usize) -> (usize, usize) {
    let accumulator = row / layout.rows_per_word();
    let element = row % layout.rows_per_word() * layout.padded + column;
    let (word, element) = (element / WORD, element % WORD);
    (accumulator * stride + word * BYTES + element % BYTES, element / BYTES * 4)
}
