//! Results of the experiment, as stored in `results.json`. Published and measured numbers are always separate
//! fields.

mod circumstances;
mod op_tables;

use serde::{Deserialize, Serialize};

use super::operation_counts::count_ops;
use super::tables;
use crate::format::thousands;
use crate::json;
use crate::train::TrainingRun;

pub use circumstances::{Corpus, Machine, Scale, utc};
pub use op_tables::OpTables;

/// Results and settings of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReproduceResults {
    pub version: String,
    pub commit: Option<String>,
    /// Command line that repeats the experiment.
    pub command: String,
    /// Start time, formatted by [`utc`].
    pub started: String,
    pub seconds: f64,
    pub seed: u64,
    pub interrupted: bool,
    /// Size of the measured models relative to the published ones.
    pub scale: Scale,
    pub corpus: Corpus,
    pub machine: Machine,
    pub op_table: OpTables,
    pub parameter_counts: Vec<ParameterCount>,
    pub rows: Vec<RowResult>,
    /// Points of the figure of perplexity against sequence length.
    pub lengths: Vec<LengthResult>,
}

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

/// Sizes and results of a trained model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Measured {
    pub emsize: usize,
    pub nhid: usize,
    /// Mean sequence length in training, in tokens.
    pub bptt: usize,
    pub batch: usize,
    pub epochs: usize,
    /// Training tokens, over all epochs.
    pub tokens: u64,
    pub steps: u64,
    /// Number of parameters, without the tombstones of the split softmax.
    pub parameters: u64,
    /// Lowest loss on the validation split, in nats per token; NaN if none was measured.
    #[serde(with = "json::number", default = "json::unknown")]
    pub valid_loss: f64,
    /// Loss on the test split, in nats per token; NaN if it was not measured.
    #[serde(with = "json::number", default = "json::unknown")]
    pub test_loss: f64,
    /// Lowest perplexity on the validation split.
    #[serde(with = "json::number")]
    pub valid_ppl: f64,
    #[serde(with = "json::number")]
    pub test_ppl: f64,
    /// Time of training and evaluation, in seconds.
    pub seconds: f64,
    #[serde(default)]
    pub interrupted: bool,
}

json::completed!(Measured);

impl Measured {
    /// Computes loss or perplexity from each other after reading a file: older files have no losses, and null
    /// means infinity, or NaN in an interrupted run.
    fn complete(&mut self) {
        let interrupted = self.interrupted;
        let complete = |loss: &mut f64, ppl: &mut f64| match (loss.is_finite(), ppl.is_finite()) {
            (true, _) => *ppl = json::perplexity(*ppl, *loss),
            (false, true) => *loss = ppl.ln(),
            (false, false) if interrupted => (*loss, *ppl) = (f64::NAN, f64::NAN),
            (false, false) => {}
        };
        complete(&mut self.valid_loss, &mut self.valid_ppl);
        complete(&mut self.test_loss, &mut self.test_ppl);
    }
}

impl From<&TrainingRun> for Measured {
    fn from(run: &TrainingRun) -> Self {
        let tombstones = count_ops(&run.config).criterion_parameters;
        Self {
            emsize: run.config.emsize,
            nhid: run.config.nhid,
            bptt: run.recipe.bptt,
            batch: run.recipe.batch,
            epochs: run.recipe.epochs,
            tokens: run.tokens,
            steps: run.losses.len() as u64,
            parameters: run.parameters.saturating_sub(tombstones),
            valid_loss: run.epochs.iter().map(|epoch| epoch.valid_loss).fold(f64::NAN, f64::min),
            test_loss: run.test_loss.unwrap_or(f64::NAN),
            valid_ppl: run.epochs.iter().map(|epoch| epoch.valid_ppl).fold(f64::NAN, f64::min),
            test_ppl: run.test_ppl.unwrap_or(f64::NAN),
            seconds: run.seconds,
            interrupted: run.interrupted,
        }
    }
}

impl From<&Measured> for Measured {
    fn from(measured: &Measured) -> Self {
        measured.clone()
    }
}

impl ReproduceResults {
    /// The measured rows of the table.
    pub fn measured_rows(&self) -> impl Iterator<Item = &Measured> {
        self.rows.iter().filter_map(|row| row.measured.as_ref())
    }

    /// The measured sequence lengths.
    pub fn measured_lengths(&self) -> impl Iterator<Item = &Measured> {
        self.lengths.iter().filter_map(|length| length.measured.as_ref())
    }
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
