//! Rows and lengths with their published and measured values, and counted parameters.

use serde::{Deserialize, Serialize};

use super::measured::Measured;
use crate::format::thousands;
use crate::paper::operation_counts::count_ops;
use crate::paper::tables;

/// Number of parameters of the model of a row at full size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterCount {
    pub name: String,
    pub published: u64,
    /// Counted number, including `criterion`.
    pub counted: u64,
    /// Tombstones of the split softmax included in both numbers; 0 if the published number excludes them.
    pub criterion: u64,
}

/// A row of the experiment table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    pub name: String,
    pub published: tables::PublishedRow,
    /// Measured values; `None` if the row was not trained.
    pub measured: Option<Measured>,
}

/// A point of the figure of perplexity against sequence length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LengthResult {
    pub published: tables::PublishedLength,
    /// Measured values; `None` if the length was not trained.
    pub measured: Option<Measured>,
}

impl ParameterCount {
    /// Counts the parameters of each row.
    pub fn of_rows<'a>(rows: impl IntoIterator<Item = &'a tables::Row>) -> Vec<Self> {
        let count = |row: &tables::Row| {
            let table = count_ops(&row.config());
            let criterion = if row.counts_criterion { table.criterion_parameters } else { 0 };
            Self {
                name: row.name.into(),
                published: row.published.parameters,
                counted: table.parameters + criterion,
                criterion,
            }
        };
        rows.into_iter().map(count).collect()
    }

    /// The headings and the cells of each row.
    pub fn table(counts: &[Self]) -> Vec<Vec<String>> {
        let headings = ["row", "counted", "published", "difference"].map(str::to_owned);
        let cells = counts.iter().map(|count| {
            let criterion = match count.criterion {
                0 => String::new(),
                n => format!(" (with {} of the softmax clusters)", thousands(n)),
            };
            let difference = i128::from(count.counted) - i128::from(count.published);
            vec![
                format!("{}{criterion}", count.name),
                thousands(count.counted),
                thousands(count.published),
                difference.to_string(),
            ]
        });
        [headings.to_vec()].into_iter().chain(cells).collect()
    }
}
