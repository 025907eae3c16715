//! The published tables, as published.
//!
//! Source: the entry's own write-up, README.md of
//! <https://github.com/micronet-challenge-submissions/Jaist-MicroNet-Challenge> (experiment table,
//! figure, operation table, score), and the leaderboard at <https://micronet-challenge.github.io>.
//! Nothing here was measured by this crate.

use crate::model::LmConfig;

/// The batch size that stands in for the rows that publish none.
pub const STAND_IN_BATCH: usize = 60;

/// Score of the entry as its write-up gives it.
pub const SCORE: f64 = 0.823;

/// Score of the entry on the challenge's leaderboard.
pub const LEADERBOARD_SCORE: f64 = 0.8232;

/// The challenge admits a model whose test perplexity on WikiText-103 lies below this.
pub const PERPLEXITY_LIMIT: f64 = 35.0;

/// How far a value of [`LENGTHS`] may be off: the chart was read by eye.
pub const LENGTHS_TOLERANCE: f64 = 0.1;

/// Name of the row that was handed in.
pub const ENTRY: &str = "300-1800-300";

/// A row of the experiment table: a 4-layer model trained on WikiText-103.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Stable short name: emsize-nhid-bptt.
    pub name: &'static str,
    /// Width of the embedding.
    pub emsize: usize,
    /// Hidden width.
    pub nhid: usize,
    /// Mean sequence length in training, in words.
    pub bptt: usize,
    /// Batches of a training batch, where published.
    pub batch: Option<usize>,
    /// Passes over the training text.
    pub epochs: usize,
    /// Parameters.
    pub parameters: u64,
    /// Whether `parameters` counts the tombstones of the split softmax too.
    pub counts_criterion: bool,
    /// Perplexity on the test split.
    pub test_perplexity: f64,
}

impl Row {
    /// The model of this row.
    pub fn config(&self) -> LmConfig {
        LmConfig::paper(self.emsize, self.nhid).bptt(self.bptt)
    }

    /// The batch size, and whether it was published; [`STAND_IN_BATCH`] where it was not.
    pub fn batch_or_stand_in(&self) -> (usize, bool) {
        (self.batch.unwrap_or(STAND_IN_BATCH), self.batch.is_some())
    }
}

/// The experiment table, in its published order; the last row is the entry.
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

/// What the rows with the narrower embedding share.
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

/// The row of this name.
pub fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// The row that was handed in.
pub fn entry() -> &'static Row {
    &ROWS[ROWS.len() - 1]
}

/// A point of the figure of perplexity against sequence length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    /// Mean sequence length in training, in words.
    pub bptt: usize,
    /// Perplexity, read by eye to about [`LENGTHS_TOLERANCE`].
    pub perplexity: f64,
}

/// The figure of perplexity against sequence length; the write-up does not state its model.
pub const LENGTHS: [Length; 8] = [
    Length { bptt: 50, perplexity: 38.0 },
    Length { bptt: 70, perplexity: 36.5 },
    Length { bptt: 100, perplexity: 35.2 },
    Length { bptt: 120, perplexity: 34.9 },
    Length { bptt: 140, perplexity: 34.8 },
    Length { bptt: 150, perplexity: 34.8 },
    Length { bptt: 170, perplexity: 34.8 },
    Length { bptt: 200, perplexity: 34.7 },
];

/// A row of the entry's operation table, for one word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Operation {
    /// Part of the model.
    pub op: &'static str,
    /// Storage in 10^6 bytes, 2 bytes a parameter.
    pub params_mbytes: f64,
    /// Millions of multiplications, each counted half.
    pub mults_m: f64,
    /// Millions of additions.
    pub adds_m: f64,
    /// The sum of both.
    pub mflops: f64,
}

/// The entry's operation table, its total last.
pub const OPERATIONS: [Operation; 4] = [
    operation("embedding", [160.641, 0.000, 0.000, 0.000]),
    operation("block_qrnn", [48.634, 12.176, 24.334, 36.510]),
    operation("block_decoder", [0.535, 40.294, 80.053, 120.347]),
    operation("total", [209.811, 52.470, 104.387, 156.857]),
];

const fn operation(
    op: &'static str,
    [params_mbytes, mults_m, adds_m, mflops]: [f64; 4],
) -> Operation {
    Operation { op, params_mbytes, mults_m, adds_m, mflops }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_spell_the_sizes_and_find_their_row() {
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
    fn a_row_gives_its_model() {
        let config = entry().config();
        assert_eq!((config.emsize, config.nhid, config.bptt), (300, 1800, 300));
        assert!(config.check().is_ok());
    }
}
