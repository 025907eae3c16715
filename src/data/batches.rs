//! A stream of words laid out in columns, and read in windows.

use crate::{Error, Result};

/// A stream cut to a multiple of `batch` and laid out as (rows, batch): column b is the b-th
/// contiguous piece (batchify of awd-lstm-lm).
#[derive(Debug, Clone, Copy)]
pub struct Batches<'a> {
    words: &'a [u32],
    rows: usize,
    batch: usize,
}

impl<'a> Batches<'a> {
    /// Lays out `words` in `batch` columns; `what` names the text in a message.
    ///
    /// # Errors
    /// [`Error::Usage`] where a column would hold fewer than two words, so that nothing could be
    /// predicted.
    pub fn new(words: &'a [u32], batch: usize, what: &str) -> Result<Self> {
        let rows = words.len().checked_div(batch).unwrap_or(0);
        if rows < 2 {
            return Err(Error::usage(
                format!("--batch-size {batch}"),
                format!("the {what} text has {} words: a column needs at least 2", words.len()),
                format!("give a --batch-size of 1 to {}, or more text", (words.len() / 2).max(1)),
            ));
        }
        Ok(Self { words, rows, batch })
    }

    /// [`Batches::new`] where the number of columns is not for the caller to choose.
    ///
    /// # Errors
    /// [`Error::Usage`] where the text is too short.
    pub fn fixed(words: &'a [u32], batch: usize, what: &str) -> Result<Self> {
        Self::new(words, batch, what).map_err(|_| {
            Error::usage(
                format!("the {what} text"),
                format!("has {} words, and is read in {batch} columns of at least 2", words.len()),
                format!("give a {what} text of at least {} words", batch.saturating_mul(2)),
            )
        })
    }

    /// Words a column.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The window of at most `seq` rows from row `start`, which is below `rows() - 1`: its words, and
    /// the words that follow them; each (seq, batch), row by row.
    pub fn window(&self, start: usize, seq: usize) -> [Vec<i64>; 2] {
        let seq = seq.min(self.rows - 1 - start);
        let row_by_row = |from: usize| -> Vec<i64> {
            (from..from + seq)
                .flat_map(|row| {
                    (0..self.batch).map(move |b| i64::from(self.words[b * self.rows + row]))
                })
                .collect()
        };
        [start, start + 1].map(row_by_row)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Windows one after another read each column from its first to its last word, in order.
        #[test]
        fn windows_cover_every_column_in_order(
            n in 2..200usize, batch in 1..8usize, seq in 1..20usize,
        ) {
            prop_assume!(n / batch >= 2);
            let text: Vec<u32> = (0..n as u32).collect();
            let columns = Batches::new(&text, batch, "made").unwrap();
            let mut seen = vec![vec![]; batch];
            let mut start = 0;
            while start < columns.rows() - 1 {
                let [words, targets] = columns.window(start, seq);
                for (i, (&word, &next)) in words.iter().zip(&targets).enumerate() {
                    prop_assert_eq!(word + 1, next);
                    seen[i % batch].push(word as u32);
                }
                start += words.len() / batch;
            }
            for (b, words) in seen.iter().enumerate() {
                let first = b * columns.rows();
                prop_assert_eq!(words, &text[first..first + columns.rows() - 1]);
            }
        }
    }

    #[test]
    fn a_batch_wider_than_the_text_is_refused() {
        let error = Batches::new(&[1, 2, 3], 2, "training").unwrap_err();
        assert_eq!(error.exit_status(), 2);
        assert!(error.to_string().contains("--batch-size 2"), "{error}");
        assert!(Batches::new(&[1, 2, 3], 0, "training").is_err());
    }
}
