//! Tables of the experiment, with published values on the left and measured ones on the right.

use crate::format::{perplexity, perplexity_of, seconds, thousands};
use crate::paper::results::{Measured, ReproduceResults};

/// The column between published and measured ones.
pub const BAR: &str = "|";

/// Explains the star of a run that did not finish.
pub const INTERRUPTED: &str = "* interrupted before the end of training.";

pub struct Comparison {
    /// Heading of the published columns.
    pub title: &'static str,
    /// Headings and cells, all with the same number of columns.
    pub rows: Vec<Vec<String>>,
}

impl Comparison {
    /// The experiment table.
    pub fn of_rows(results: &ReproduceResults) -> Self {
        let headings = ["emsize-nhid-bptt", "batch", "epochs", "params", "test ppl"];
        let mut rows = vec![row(headings.map(str::to_owned), MEASURED.map(str::to_owned))];
        for result in &results.rows {
            let published = &result.published;
            let cells = [
                result.name.clone(),
                published.batch_text(),
                published.epochs.to_string(),
                thousands(published.parameters),
                perplexity(published.test_ppl),
            ];
            rows.push(row(cells, measured_cells(&result.measured)));
        }
        Self { title: "Published: full size, WikiText-103", rows }
    }

    /// The figure of perplexity against sequence length.
    pub fn of_lengths(results: &ReproduceResults) -> Self {
        let mut rows =
            vec![row(["bptt", "test ppl"].map(str::to_owned), MEASURED.map(str::to_owned))];
        for result in &results.lengths {
            let cells = [result.published.bptt.to_string(), format!("{:.1}", result.published.ppl)];
            rows.push(row(cells, measured_cells(&result.measured)));
        }
        Self { title: "Published: read from the chart", rows }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

fn row<const N: usize>(published: [String; N], measured: [String; 9]) -> Vec<String> {
    published.into_iter().chain([BAR.to_owned()]).chain(measured).collect()
}

const MEASURED: [&str; 9] = [
    "emsize-nhid-bptt",
    "batch",
    "epochs",
    "tokens",
    "steps",
    "params",
    "valid ppl",
    "test ppl",
    "seconds",
];

fn measured_cells(measured: &Option<Measured>) -> [String; 9] {
    let Some(run) = measured else {
        let mut cells = <[String; 9]>::default();
        cells[0] = "not run".into();
        return cells;
    };
    [
        format!("{}-{}-{}", run.emsize, run.nhid, run.bptt),
        run.batch.to_string(),
        run.epochs.to_string(),
        thousands(run.tokens),
        thousands(run.steps),
        thousands(run.parameters),
        perplexity_of(run.valid_loss),
        perplexity_of(run.test_loss) + if run.interrupted { "*" } else { "" },
        seconds(run.seconds),
    ]
}
