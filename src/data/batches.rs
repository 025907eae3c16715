//! A sequence of tokens arranged in batch columns and read batch by batch.

use std::ops::Range;

use crate::{Error, Result};

/// A sequence of tokens, truncated to a multiple of the batch size and arranged as (rows, batch):
/// batch column b is the b-th contiguous segment (`batchify` in utils.py of awd-lstm-lm).
#[derive(Debug, Clone, Copy)]
pub struct Batches<'a> {
    tokens: &'a [u32],
    rows: usize,
    batch_size: usize,
}

/// Token ids of shape (seq, batch), row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The tokens that the model reads.
    pub inputs: Vec<i64>,
    /// The token after each input.
    pub targets: Vec<i64>,
}

impl<'a> Batches<'a> {
    /// Arranges `tokens` in `batch_size` columns; `name` names the text in errors.
    ///
    /// # Errors
    /// [`Error::Config`] if a column would hold fewer than two tokens.
    pub fn new(tokens: &'a [u32], batch_size: usize, name: &str) -> Result<Self> {
        let rows = tokens.len().checked_div(batch_size).unwrap_or(0);
        if rows < 2 {
            return Err(Error::config(
                "recipe.batch",
                batch_size,
                format!(
                    "the {name} text has {} tokens; each batch column needs at least 2",
                    tokens.len()
                ),
                format!("use a recipe.batch of 1 to {}, or more text", (tokens.len() / 2).max(1)),
            ));
        }
        Ok(Self { tokens, rows, batch_size })
    }

    /// As [`Batches::new`], for a batch size that the user cannot set: the error names the text.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the text is too short.
    pub fn fixed(tokens: &'a [u32], batch_size: usize, name: &str) -> Result<Self> {
        Self::new(tokens, batch_size, name).map_err(|_| {
            Error::mismatch(
                format!("the {name} text"),
                format!(
                    "has {} tokens, and is read in {batch_size} batch columns of at least 2",
                    tokens.len()
                ),
                format!("use a {name} text of at least {} tokens", batch_size.saturating_mul(2)),
            )
        })
    }

    /// Tokens per batch column.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The batch of at most `seq` rows from row `start`, which must be below `rows() - 1`.
    pub fn batch(&self, start: usize, seq: usize) -> Batch {
        self.columns(start, seq, 0..self.batch_size)
    }

    /// These columns of [`Batches::batch`].
    pub fn columns(&self, start: usize, seq: usize, columns: Range<usize>) -> Batch {
        let seq = seq.min(self.rows - 1 - start);
        let row_by_row = |from: usize| -> Vec<i64> {
            (from..from + seq)
                .flat_map(|row| {
                    let columns = columns.clone();
                    columns.map(move |b| i64::from(self.tokens[b * self.rows + row]))
                })
                .collect()
        };
        Batch { inputs: row_by_row(start), targets: row_by_row(start + 1) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Consecutive batches read each column from its first to its last token, in order.
        #[test]
        fn batches_cover_every_column_in_order(
            n in 2..200usize, batch_size in 1..8usize, seq in 1..20usize,
        ) {
            prop_assume!(n / batch_size >= 2);
            let text: Vec<u32> = (0..n as u32).collect();
            let batches = Batches::new(&text, batch_size, "generated").unwrap();
            let mut columns = vec![vec![]; batch_size];
            let mut start = 0;
            while start < batches.rows() - 1 {
                let Batch { inputs, targets } = batches.batch(start, seq);
                for (i, (&input, &target)) in inputs.iter().zip(&targets).enumerate() {
                    prop_assert_eq!(input + 1, target);
                    columns[i % batch_size].push(input as u32);
                }
                start += inputs.len() / batch_size;
            }
            for (b, column) in columns.iter().enumerate() {
                let first = b * batches.rows();
                prop_assert_eq!(column, &text[first..first + batches.rows() - 1]);
            }
        }
    }

    #[test]
    fn columns_are_cut_from_the_batch() {
        let text: Vec<u32> = (0..12).collect();
        let batches = Batches::new(&text, 3, "generated").unwrap();
        let batch = batches.columns(1, 2, 1..3);
        assert_eq!(batch, Batch { inputs: vec![5, 9, 6, 10], targets: vec![6, 10, 7, 11] });
        assert_eq!(batches.columns(1, 2, 0..3), batches.batch(1, 2));
    }

    #[test]
    fn a_batch_size_larger_than_half_the_text_is_refused() {
        let error = Batches::new(&[1, 2, 3], 2, "training").unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error}");
        assert!(error.to_string().contains("recipe.batch 2"), "{error}");
        assert!(Batches::new(&[1, 2, 3], 0, "training").is_err());
    }
}
