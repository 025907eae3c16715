//! The words of the stream that a mask consumes, and those of them that are sampled.

use std::ops::Range;

use crate::{Error, Result};

/// Rows of words that are sampled, at equal distances in the stream.
///
/// A mask of all columns of the batch is one row. In a (rows, batch, width) mask of which some columns are
/// sampled, each row has the words of these columns, and the words between are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WordRows {
    /// Number of rows.
    pub rows: i64,
    /// Words that are skipped before the first row.
    pub skipped: i64,
    /// Words in a row.
    pub n: i64,
    /// Distance between the beginnings of rows.
    pub stride: i64,
}

impl WordRows {
    /// The words of a whole mask.
    ///
    /// # Errors
    /// [`Error::Shape`] if 64 bits cannot count them.
    pub fn all(size: &[i64]) -> Result<Self> {
        let n = product(size)?;
        Ok(Self { rows: 1, skipped: 0, n, stride: n })
    }

    /// The words of some columns of a (rows, batch, width) mask.
    ///
    /// # Errors
    /// [`Error::Shape`] if the batch does not have these columns, or 64 bits cannot count its words.
    pub fn of_columns(size: [i64; 3], columns: &Range<i64>) -> Result<Self> {
        let [rows, batch, width] = size;
        if columns.start < 0 || columns.start > columns.end || columns.end > batch {
            return Err(Error::shape(
                "dropout of a part of the batch",
                format!("columns {columns:?} are not within the batch's {batch}"),
                "pass a range of its columns",
            ));
        }
        let all = Self::all(&size)?;
        if *columns == (0..batch) || all.n == 0 {
            return Ok(all);
        }
        let n = (columns.end - columns.start) * width;
        Ok(Self { rows, skipped: columns.start * width, n, stride: batch * width })
    }

    /// Number of words that the whole mask consumes.
    pub fn consumed(&self) -> i64 {
        self.rows * self.stride
    }

    /// Number of words that are sampled, one per element of the mask.
    pub fn sampled(&self) -> i64 {
        self.rows * self.n
    }
}

fn product(size: &[i64]) -> Result<i64> {
    let words = size.iter().try_fold(1i64, |words, n| words.checked_mul(*n).filter(|_| *n >= 0));
    words.ok_or_else(too_large)
}

/// The error where a mask or its position in the stream exceeds the integers that count words.
pub(super) fn too_large() -> Error {
    Error::shape("dropout", "the masks are too large", "use a smaller batch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_columns_are_one_row_and_some_are_one_per_row_of_the_mask() {
        let all = WordRows { rows: 1, skipped: 0, n: 60, stride: 60 };
        assert_eq!(WordRows::all(&[3, 4, 5]).unwrap(), all);
        assert_eq!(WordRows::of_columns([3, 4, 5], &(0..4)).unwrap(), all);
        let some = WordRows::of_columns([3, 4, 5], &(1..3)).unwrap();
        assert_eq!(some, WordRows { rows: 3, skipped: 5, n: 10, stride: 20 });
        assert_eq!((some.consumed(), some.sampled()), (60, 30));
        assert_eq!(WordRows::of_columns([3, 4, 5], &(2..2)).unwrap().sampled(), 0);
    }

    #[test]
    fn columns_beyond_the_batch_and_masks_that_cannot_be_counted_are_refused() {
        #[expect(clippy::reversed_empty_ranges, reason = "one of the refused ranges")]
        for columns in [-1..2, 0..5, 5..5, 3..2] {
            let error = WordRows::of_columns([3, 4, 5], &columns).unwrap_err().to_string();
            assert!(error.contains("not within the batch's 4"), "{error}");
        }
        for size in [[i64::MAX, 2, 1], [i64::MAX / 2, 3, 1], [-1, 3, -1]] {
            assert!(matches!(WordRows::all(&size), Err(Error::Shape { .. })), "{size:?}");
        }
    }
}
