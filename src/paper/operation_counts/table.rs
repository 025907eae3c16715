//! Tables of operations.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ledger::{FULL_BITS, Item, Sums};
use crate::format::{aligned, score, thousands};

/// Cost of one part of the model per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpRow {
    /// Part of the model: embedding, block_qrnn, block_decoder or total.
    pub op: Cow<'static, str>,
    /// Storage in 10^6 bytes.
    pub params_mbytes: f64,
    /// Millions of multiplications, weighted by their width over 32 bits.
    pub mults_m: f64,
    /// Millions of additions.
    pub adds_m: f64,
    /// Sum of both.
    pub mflops: f64,
}

impl OpRow {
    /// The row of a part of the model.
    pub(super) fn new(op: &'static str, sums: Sums) -> Self {
        let millions = |sum: u128| sum as f64 / (f64::from(FULL_BITS) * 1e6);
        Self {
            op: op.into(),
            params_mbytes: sums.storage as f64 / 8e6,
            mults_m: millions(sums.multiplications),
            adds_m: millions(sums.additions),
            mflops: millions(sums.multiplications + sums.additions),
        }
    }

    /// The four numbers, in column order.
    pub fn figures(&self) -> [f64; 4] {
        [self.params_mbytes, self.mults_m, self.adds_m, self.mflops]
    }
}

/// Parameters and operations of a model per token. Displays as a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpTable {
    /// Number of parameters, without the tombstones of the split softmax.
    pub parameters: u64,
    /// Number of tombstone parameters (`tail_vectors` and `tail_bias`), which the published count leaves out.
    pub criterion_parameters: u64,
    pub rows: Vec<OpRow>,
    pub total: OpRow,
    /// MicroNet score: storage plus operations, each divided by that of the challenge's baseline.
    pub score: f64,
    /// Storage in 32-bit parameters, if counted by the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_32: Option<f64>,
    /// 32-bit operations per token, if counted by the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<f64>,
    /// The items that the table is the sum of, if counted by the rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ledger: Vec<Item>,
}

/// Headings of [`OpRow::figures`].
pub const FIGURES: [&str; 4] = ["params (MB)", "mults (M)", "adds (M)", "MFLOPS"];

impl OpTable {
    /// The rows, then their sum.
    pub fn rows_and_total(&self) -> impl Iterator<Item = &OpRow> {
        self.rows.iter().chain([&self.total])
    }

    /// The headings and the cells of each row.
    pub fn cells(&self) -> Vec<Vec<String>> {
        let headings = [&["op"][..], &FIGURES].concat().into_iter().map(str::to_owned).collect();
        let rows = self.rows_and_total().map(|row| {
            let figures = row.figures().map(|figure| format!("{figure:.3}"));
            [vec![row.op.to_string()], figures.into()].concat()
        });
        [headings].into_iter().chain(rows).collect()
    }

    pub(crate) fn summary(&self) -> String {
        let tombstones = match self.criterion_parameters {
            0 => String::new(),
            n => format!(" (and {} of the loss)", thousands(n)),
        };
        let by_the_rules = match (self.parameters_32, self.operations) {
            (Some(parameters), Some(operations)) => format!(
                ", stored in {} and computed with {} of 32 bits",
                thousands(parameters.round() as u64),
                thousands(operations.round() as u64)
            ),
            _ => String::new(),
        };
        format!(
            "{} parameters{tombstones}{by_the_rules}, MicroNet score {}",
            thousands(self.parameters),
            score(self.score)
        )
    }
}

impl fmt::Display for OpTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", aligned(&self.cells()), self.summary())
    }
}
