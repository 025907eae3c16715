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
pub const ASSUMED_BATCH: usize = 60;

/// Score of the entry in its write-up.
pub const SCORE: f64 = 0.823;

/// Score of the entry on the challenge's leaderboard.
pub const LEADERBOARD_SCORE: f64 = 0.8232;

/// An entry for WikiText-103 whose test perplexity is at most [`PERPLEXITY_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedScore {
    pub team: &'static str,
    pub score: f64,
    /// Perplexity on the test split, if it was published with the score.
    pub test_ppl: Option<f64>,
    pub source: ScoreSource,
}

/// Where a score was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreSource {
    /// The leaderboard of the MicroNet Challenge 2019,
    /// <https://micronet-challenge.github.io/leaderboard.html>.
    Leaderboard,
    /// Yan, Wang, Guo and Han 2020, "MicroNet for Efficient Language Modeling", <https://arxiv.org/abs/2005.07877>: another
    /// model than those of the leaderboard.
    Paper,
}

/// The scores that were published for WikiText-103, ascending; the last is this entry.
pub const SCORES: [PublishedScore; 6] = [
    published_score("MIT-HAN-Lab", 0.0387, None, ScoreSource::Paper),
    published_score("MIT-HAN-Lab", 0.0475, None, ScoreSource::Leaderboard),
    published_score("MIT-HAN-Lab", 0.0482, None, ScoreSource::Leaderboard),
    published_score("MIT-HAN-Lab", 0.0485, None, ScoreSource::Leaderboard),
    published_score("Clova AI", 0.1657, None, ScoreSource::Leaderboard),
    published_score("JNLP", LEADERBOARD_SCORE, Some(34.71), ScoreSource::Leaderboard),
];

const fn published_score(
    team: &'static str,
    score: f64,
    test_ppl: Option<f64>,
    source: ScoreSource,
) -> PublishedScore {
    PublishedScore { team, score, test_ppl, source }
}

/// The challenge requires a test perplexity on WikiText-103 below this.
pub const PERPLEXITY_LIMIT: f64 = 35.0;

/// Accuracy of the values of [`LENGTHS`], which were read from the chart by eye.
pub const LENGTHS_TOLERANCE: f64 = 0.1;

/// Name of the submitted row.
pub const ENTRY: &str = "300-1800-300";

/// A row of the experiment table: a 4-layer model trained on WikiText-103.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// emsize-nhid-bptt
    pub name: &'static str,
    pub published: PublishedRow,
    /// Whether the published parameters include the tombstones of the split softmax.
    pub counts_criterion: bool,
}

/// The published values of a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PublishedRow {
    pub emsize: usize,
    pub nhid: usize,
    /// Mean sequence length in training, in tokens.
    pub bptt: usize,
    /// Training batch size, [`ASSUMED_BATCH`] if none was published.
    pub batch: usize,
    pub batch_published: bool,
    pub epochs: usize,
    pub parameters: u64,
    /// Perplexity on the test split.
    pub test_ppl: f64,
}

impl Row {
    /// Model configuration of this row.
    pub fn config(&self) -> LmConfig {
        let PublishedRow { emsize, nhid, bptt, .. } = self.published;
        LmConfig::paper(emsize, nhid).bptt(bptt)
    }
}

impl PublishedRow {
    /// The batch size, in parentheses if it was not published.
    pub fn batch_text(&self) -> String {
        if self.batch_published { self.batch.to_string() } else { format!("({})", self.batch) }
    }
}

/// The experiment table in published order; the last row is the entry.
pub const ROWS: [Row; 7] = [
    Row {
        counts_criterion: true,
        ..row_of("400-2500-140", [400, 2500, 140], Some(60), 14, 153_886_638, 32.58)
    },
    row_of("300-2000-140", [300, 2000, 140], None, 20, 110_007_135, 34.31),
    row_of("300-1500-140", [300, 1500, 140], None, 20, 98_152_635, 36.46),
    row_of("300-1750-140", [300, 1750, 140], None, 20, 103_704_885, 35.37),
    row_of("300-2000-200", [300, 2000, 200], None, 20, 110_007_135, 34.14),
    row_of("300-1850-200", [300, 1850, 200], None, 20, 106_135_785, 34.84),
    row_of(ENTRY, [300, 1800, 300], Some(40), 20, 104_905_335, 34.71),
];

const fn row_of(
    name: &'static str,
    [emsize, nhid, bptt]: [usize; 3],
    batch: Option<usize>,
    epochs: usize,
    parameters: u64,
    test_ppl: f64,
) -> Row {
    let (batch, batch_published) = match batch {
        Some(batch) => (batch, true),
        None => (ASSUMED_BATCH, false),
    };
    let published =
        PublishedRow { emsize, nhid, bptt, batch, batch_published, epochs, parameters, test_ppl };
    Row { name, published, counts_criterion: false }
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
            let PublishedRow { emsize, nhid, bptt, .. } = row.published;
            assert_eq!(row.name, format!("{emsize}-{nhid}-{bptt}"));
            assert_eq!(super::row(row.name), Some(row));
        }
        assert_eq!(row("300-1800-301"), None);
        assert_eq!(entry().name, ENTRY);
    }

    #[test]
    fn scores_ascend_to_that_of_the_entry() {
        assert!(SCORES.is_sorted_by(|a, b| a.score < b.score));
        let last = SCORES[SCORES.len() - 1];
        assert_eq!((last.score, last.test_ppl), (LEADERBOARD_SCORE, Some(34.71)));
        assert_eq!(last.test_ppl, Some(entry().published.test_ppl));
    }

    #[test]
    fn only_the_first_and_last_row_publish_a_batch() {
        let batches = ROWS.map(|row| row.published.batch_text());
        assert_eq!(batches, ["60", "(60)", "(60)", "(60)", "(60)", "(60)", "40"]);
    }

    #[test]
    fn a_row_has_the_configuration_of_its_model() {
        let config = entry().config();
        assert_eq!((config.emsize, config.nhid, config.bptt), (300, 1800, 300));
        assert!(config.check().is_ok());
    }
}
