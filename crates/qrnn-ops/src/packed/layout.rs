//! How the elements of a matrix are arranged for the kernels.
//!
//! Kernels work on groups of 16 rows, expanded word by word; a word is 64 elements. A row of more
//! than 32 columns fills whole words, each padded to 64 elements. Narrow rows share a word: 8, 4 or
//! 2 of them. A lane of a sum covers 4 elements, so a group has at most 16 accumulators of 16 lanes.

use super::error::{Error, MAX_COLUMNS};

/// Rows of a group.
pub(super) const GROUP: usize = 16;

/// Elements of a word.
pub(super) const WORD: usize = 64;

/// Codes are stored plus 128, as unsigned bytes: `vpdpbusd` multiplies unsigned by signed bytes. A
/// product then exceeds the right one by 128 times the sum of the activations.
pub(super) const BIAS: u8 = 0x80;

/// The shape of a matrix and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub rows: usize,
    pub columns: usize,
    /// Elements from one row to the next in an expanded group: 8, 16, 32 or a multiple of 64.
    pub padded: usize,
}

impl Layout {
    pub fn new(rows: usize, columns: usize) -> Result<Self, Error> {
        if !(1..=MAX_COLUMNS).contains(&columns) {
            return Err(Error::Columns(columns));
        }
        let elements = (rows as u64).saturating_mul(columns as u64);
        if elements > u64::from(u32::MAX) {
            return Err(Error::Elements(elements));
        }
        let padded = match columns {
            ..=32 => columns.next_power_of_two().max(8),
            _ => columns.next_multiple_of(WORD),
        };
        Ok(Self { rows, columns, padded })
    }

    pub fn groups(self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    /// Rows that share a word.
    pub fn rows_per_word(self) -> usize {
        (WORD / self.padded).max(1)
    }

    /// Accumulators of a group: one a row, or one for all rows of a word.
    pub fn accumulators(self) -> usize {
        GROUP / self.rows_per_word()
    }

    /// Words that are summed into one accumulator.
    pub fn words(self) -> usize {
        self.padded.div_ceil(WORD)
    }

    /// Elements of an accumulator's last word up to the end of the row.
    pub fn last_word(self) -> usize {
        match self.rows_per_word() {
            1 => self.columns - (self.words() - 1) * WORD,
            _ => WORD,
        }
    }

    /// Steps of 4 columns.
    pub fn steps(self) -> usize {
        self.columns.div_ceil(4)
    }
}

/// Bytes between accumulators whose words have `word` bytes, of which the last needs `last`. Whole
/// words are aligned, so rows are padded to whole words where this costs at most an eighth.
pub(super) fn stride(layout: Layout, word: usize, last: usize) -> usize {
    let exact = (layout.words() - 1) * word + last;
    let padded = layout.words() * word;
    if padded - exact <= exact / 8 { padded } else { exact }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_rows_share_words() {
        for (columns, padded, accumulators, words) in [
            (1, 8, 2, 1),
            (5, 8, 2, 1),
            (9, 16, 4, 1),
            (17, 32, 8, 1),
            (33, 64, 16, 1),
            (64, 64, 16, 1),
            (75, 128, 16, 2),
            (1800, 1856, 16, 29),
        ] {
            let layout = Layout::new(100, columns).unwrap();
            assert_eq!(layout.padded, padded, "{columns}");
            assert_eq!(layout.accumulators(), accumulators, "{columns}");
            assert_eq!(layout.words(), words, "{columns}");
            assert_eq!(layout.accumulators() * layout.words() * WORD, GROUP * padded, "{columns}");
        }
    }

    #[test]
    fn sums_of_the_widest_row_fit_an_i32() {
        assert!(Layout::new(1, MAX_COLUMNS).is_ok());
        assert!(i32::try_from(MAX_COLUMNS * 255 * 127).is_ok());
        assert_eq!(Layout::new(1, MAX_COLUMNS + 1), Err(Error::Columns(MAX_COLUMNS + 1)));
        assert_eq!(Layout::new(1, 0), Err(Error::Columns(0)));
        assert!(matches!(Layout::new(1 << 20, 1 << 12), Err(Error::Elements(_))));
    }

    #[test]
    fn rows_are_padded_where_that_is_cheap() {
        let bytes = |columns| {
            let layout = Layout::new(1, columns).unwrap();
            stride(layout, WORD, layout.last_word())
        };
        assert_eq!([5, 33, 75, 300, 1800].map(bytes), [64, 33, 75, 320, 1856]);
    }
}
