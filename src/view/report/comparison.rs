//! Tables of the experiment, with published values on the left and measured ones on the right.

use crate::format::{perplexity, perplexity_of, seconds, thousands};
use crate::paper::results::{Between, Measured, ReproduceResults};

/// The column between published and measured ones.
pub const BAR: &str = "|";

/// Explains the star of a run that did not finish.
pub const INTERRUPTED: &str = "* interrupted before the end of training.";

/// Explains the table of differences.
pub const DIFFERENCES: &str = "Differences of the test perplexity between neighbouring rows and lengths: mean over \
                               the seeds that both have, and the interval that contains the true difference with \
                               95 % probability by a paired t test over seeds, each pair for itself. A difference \
                               stands out if its interval excludes 0.";

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
    let valid = with_deviation(run.valid_ppl, run.valid_loss, run.valid_ppl_deviation);
    let test = with_deviation(run.test_ppl, run.test_loss, run.test_ppl_deviation);
    [
        format!("{}-{}-{}", run.emsize, run.nhid, run.bptt),
        run.batch.to_string(),
        run.epochs.to_string(),
        thousands(run.tokens),
        thousands(run.steps),
        thousands(run.parameters),
        valid,
        test + if run.interrupted { "*" } else { "" },
        seconds(run.seconds),
    ]
}

/// A perplexity, with its deviation if there are several seeds.
fn with_deviation(ppl: f64, loss: f64, deviation: Option<f64>) -> String {
    match deviation {
        Some(deviation) => format!("{} ± {deviation:.2}", perplexity(ppl)),
        None => perplexity_of(loss),
    }
}

/// Headings and cells of the differences between neighbours.
pub fn differences(results: &ReproduceResults) -> Vec<Vec<String>> {
    let headings = ["from", "to", "published", "measured", "95 % interval", "stands out", "seeds"];
    let cells = results.differences.iter().map(|difference| {
        let name = |name: &String| match difference.between {
            Between::Rows => name.clone(),
            Between::Lengths => format!("bptt {name}"),
        };
        let [low, high] = difference.interval;
        vec![
            name(&difference.first),
            name(&difference.second),
            format!("{:+.2}", difference.published),
            format!("{:+.2}", difference.mean),
            format!("{low:+.2} to {high:+.2}"),
            if difference.stands_out { "yes" } else { "no" }.to_owned(),
            difference.seeds.to_string(),
        ]
    });
    std::iter::once(headings.map(str::to_owned).to_vec()).chain(cells).collect()
}
