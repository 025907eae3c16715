//! The published tables.
//!
//! Source: the entry's own write-up, README.md of
//! <https://github.com/micronet-challenge-submissions/Jaist-MicroNet-Challenge> (experiment table,
//! figure, operation table, score), and the leaderboard at <https://micronet-challenge.github.io>.
//! Nothing here was measured by this crate.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::operation_counts::OpRow;
use crate::model::LmConfig;

/// Batch size assumed for rows that publish none.
pub const STAND_IN_BATCH: usize = 60;

/// Score of the entry in its write-up.
pub const SCORE: f64 = 0.823;

/// Score of the entry on the challenge's leaderboard.
pub const LEADERBOARD_SCORE: f64 = 0.8232;

/// The challenge requires a test perplexity on WikiText-103 below this.
pub const PERPLEXITY_LIMIT: f64 = 35.0;

/// Accuracy of the values of [`LENGTHS`], which were read from the chart by eye.
pub const LENGTHS_TOLERANCE: f64 = 0.1;

/// Name of the submitted row.
pub const ENTRY: &str = "300-1800-300";

/// A row of the experiment table: a 4-layer model trained on WikiText-103.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Name: emsize-nhid-bptt.
    pub name: &'static str,
    /// Embedding width.
    pub emsize: usize,
    /// Hidden width.
    pub nhid: usize,
    /// Mean sequence length in training, in tokens.
    pub bptt: usize,
    /// Training batch size, if published.
    pub batch: Option<usize>,
    /// Number of passes over the training text.
    pub epochs: usize,
    /// Number of parameters.
    pub parameters: u64,
    /// Whether `parameters` includes the tombstones of the split softmax.
    pub counts_criterion: bool,
    /// Perplexity on the test split.
    pub test_perplexity: f64,
}

impl Row {
    /// Model configuration of this row.
    pub fn config(&self) -> LmConfig {
        LmConfig::paper(self.emsize, self.nhid).bptt(self.bptt)
    }

    /// Batch size, [`STAND_IN_BATCH`] if none was published, and whether it was published.
    pub fn batch_or_stand_in(&self) -> (usize, bool) {
        (self.batch.unwrap_or(STAND_IN_BATCH), self.batch.is_some())
    }
}

/// The experiment table in published order; the last row is the entry.
pub const ROWS: [Row; 7] = [
    Row {
        name: "400-2500-140",
        emsize: 400,
        nhid: 2500,
        bptt: 140,
        batch: Some(60),
        epochs: 14,
        parameters: 153_886_638,
        counts_criterion: true,
        test_perplexity: 32.58,
    },
    narrow("300-2000-140", 2000, 140, 110_007_135, 34.31),
    narrow("300-1500-140", 1500, 140, 98_152_635, 36.46),
    narrow("300-1750-140", 1750, 140, 103_704_885, 35.37),
    narrow("300-2000-200", 2000, 200, 110_007_135, 34.14),
    narrow("300-1850-200", 1850, 200, 106_135_785, 34.84),
    Row { batch: Some(40), ..narrow(ENTRY, 1800, 300, 104_905_335, 34.71) },
];

/// A row with embedding width 300 and the values that those rows share.
const fn narrow(
    name: &'static str,
    nhid: usize,
    bptt: usize,
    parameters: u64,
    test_perplexity: f64,
) -> Row {
    Row {
        name,
        emsize: 300,
        nhid,
        bptt,
        batch: None,
        epochs: 20,
        parameters,
        counts_criterion: false,
        test_perplexity,
    }
}

/// Finds a row by name.
pub fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// The submitted row.
pub fn entry() -> &'static Row {
    &ROWS[ROWS.len() - 1]
}

/// A published point of the figure of perplexity against sequence length, read from the chart by eye.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PublishedLength {
    /// Mean sequence length in training, in tokens.
    pub bptt: usize,
    /// Perplexity, accurate to about [`LENGTHS_TOLERANCE`].
    pub ppl: f64,
}

/// The figure of perplexity against sequence length. The write-up does not state its model.
pub const LENGTHS: [PublishedLength; 8] = [
    PublishedLength { bptt: 50, ppl: 38.0 },
    PublishedLength { bptt: 70, ppl: 36.5 },
    PublishedLength { bptt: 100, ppl: 35.2 },
    PublishedLength { bptt: 120, ppl: 34.9 },
    PublishedLength { bptt: 140, ppl: 34.8 },
    PublishedLength { bptt: 150, ppl: 34.8 },
    PublishedLength { bptt: 170, ppl: 34.8 },
    PublishedLength { bptt: 200, ppl: 34.7 },
];

/// Operation table of the entry; the last row is the total.
pub const OPERATIONS: [OpRow; 4] = [
    operation("embedding", [160.641, 0.000, 0.000, 0.000]),
    operation("block_qrnn", [48.634, 12.176, 24.334, 36.510]),
    operation("block_decoder", [0.535, 40.294, 80.053, 120.347]),
    operation("total", [209.811, 52.470, 104.387, 156.857]),
];

const fn operation(op: &'static str, [params_mbytes, mults_m, adds_m, mflops]: [f64; 4]) -> OpRow {
    OpRow { op: Cow::Borrowed(op), params_mbytes, mults_m, adds_m, mflops }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_consist_of_the_sizes_and_find_their_row() {
        for row in &ROWS {
            assert_eq!(row.name, format!("{}-{}-{}", row.emsize, row.nhid, row.bptt));
            assert_eq!(super::row(row.name), Some(row));
        }
        assert_eq!(row("300-1800-301"), None);
        assert_eq!(entry().name, ENTRY);
    }

    #[test]
    fn only_the_first_and_last_row_publish_a_batch() {
        let batches: Vec<_> = ROWS.iter().map(Row::batch_or_stand_in).collect();
        assert_eq!((batches[0], batches[6]), ((60, true), (40, true)));
        assert!(batches[1..6].iter().all(|&batch| batch == (60, false)));
    }

    #[test]
    fn a_row_has_the_configuration_of_its_model() {
        let config = entry().config();
        assert_eq!((config.emsize, config.nhid, config.bptt), (300, 1800, 300));
        assert!(config.check().is_ok());
    }
}
