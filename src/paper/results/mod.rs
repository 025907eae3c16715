//! Results of the experiment: what `results.json` holds. Published and measured numbers are separate fields
//! throughout.

mod circumstances;
mod clock;

use serde::{Deserialize, Serialize};

use super::operation_counts::{OpRow, OpTable, count_ops};
use super::tables;
use crate::json;

pub use circumstances::{Corpus, Machine, Scale};
pub use clock::utc;

/// All that a run of `reproduce` found, and under which circumstances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReproduceResults {
    /// Version of this crate.
    pub version: String,
    /// Commit it was built from, where known.
    pub commit: Option<String>,
    /// The command line that repeats the run.
    pub command: String,
    /// When it began, as [`utc`] writes it.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// Seed of every random draw.
    pub seed: u64,
    /// Whether it was interrupted before the last row.
    pub interrupted: bool,
    /// How much smaller the measured models are.
    pub scale: Scale,
    /// The text they were trained on.
    pub corpus: Corpus,
    /// Where it ran.
    pub machine: Machine,
    /// The entry's operation table.
    pub op_table: OpTables,
    /// Parameters of every row's model at full size.
    pub parameter_counts: Vec<ParameterCount>,
    /// The experiment table.
    pub rows: Vec<RowResult>,
    /// The figure of perplexity against sequence length.
    pub lengths: Vec<LengthResult>,
}

/// The entry's operation table, published and counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpTables {
    /// As published, the total last.
    pub published: Vec<OpRow>,
    /// As [`count_ops`] counts it.
    pub counted: OpTable,
}

/// The parameters of one row's model at full size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterCount {
    /// Name of the row.
    pub name: String,
    /// As published.
    pub published: u64,
    /// As counted, with `criterion` where the published figure has it.
    pub counted: u64,
    /// Tombstones of the loss in both figures; 0 where they are left out.
    pub criterion: u64,
}

/// A row of the experiment table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    /// Name of the row.
    pub name: String,
    /// What was published.
    pub published: PublishedRow,
    /// What was measured; nothing where the row was not run.
    pub measured: Option<Measured>,
}

/// A published row of the experiment table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedRow {
    /// Width of the embedding.
    pub emsize: usize,
    /// Hidden width.
    pub nhid: usize,
    /// Mean sequence length in training, in words.
    pub bptt: usize,
    /// Batches of a training batch, or what stands in for it.
    pub batch: usize,
    /// Whether `batch` was published.
    pub batch_published: bool,
    /// Passes over the training text.
    pub epochs: usize,
    /// Parameters, as published.
    pub parameters: u64,
    /// Perplexity on the test split of WikiText-103.
    pub test_ppl: f64,
}

/// A point of the figure of perplexity against sequence length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LengthResult {
    /// What was published.
    pub published: PublishedLength,
    /// What was measured; nothing where the length was not run.
    pub measured: Option<Measured>,
}

/// A published point of that figure, read by eye.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedLength {
    /// Mean sequence length in training, in words.
    pub bptt: usize,
    /// Perplexity, to about ±0.1.
    pub ppl: f64,
}

/// One trained model: the sizes used and the perplexities reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Measured {
    /// Width of the embedding.
    pub emsize: usize,
    /// Hidden width.
    pub nhid: usize,
    /// Mean sequence length in training, in words.
    pub bptt: usize,
    /// Batches of a training batch.
    pub batch: usize,
    /// Passes over the training text.
    pub epochs: usize,
    /// Words trained on, over all epochs.
    pub tokens: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Parameters, the tombstones not counted.
    pub parameters: u64,
    /// Lowest loss on the validation split, in nats a word; no number where none was measured.
    #[serde(with = "json::number", default = "json::unknown")]
    pub valid_loss: f64,
    /// Loss on the test split, in nats a word; no number where it was not measured.
    #[serde(with = "json::number", default = "json::unknown")]
    pub test_loss: f64,
    /// Perplexity on the validation split.
    #[serde(with = "json::number")]
    pub valid_ppl: f64,
    /// Perplexity on the test split.
    #[serde(with = "json::number")]
    pub test_ppl: f64,
    /// Time to train and evaluate.
    pub seconds: f64,
    /// Whether training was interrupted before its end.
    #[serde(default)]
    pub interrupted: bool,
}

json::completed!(Measured);

impl Measured {
    /// Loss and perplexity tell each other: older files have no losses, and null stands for what is
    /// infinite. It also stands for what an interrupted run did not measure.
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

impl OpTables {
    /// The entry's tables.
    pub fn of_entry() -> Self {
        let published = tables::OPERATIONS.iter().map(|row| OpRow {
            op: row.op.into(),
            params_mbytes: row.params_mbytes,
            mults_m: row.mults_m,
            adds_m: row.adds_m,
            mflops: row.mflops,
        });
        Self { published: published.collect(), counted: count_ops(&tables::entry().config()) }
    }
}

impl ParameterCount {
    /// Counts the model of each of these rows.
    pub fn of_rows<'a>(rows: impl IntoIterator<Item = &'a tables::Row>) -> Vec<Self> {
        let count = |row: &tables::Row| {
            let table = count_ops(&row.config());
            let criterion = if row.counts_criterion { table.criterion_parameters } else { 0 };
            Self {
                name: row.name.into(),
                published: row.parameters,
                counted: table.parameters + criterion,
                criterion,
            }
        };
        rows.into_iter().map(count).collect()
    }
}

impl RowResult {
    /// A published row, and what was measured for it.
    pub fn new(row: &tables::Row, measured: Option<Measured>) -> Self {
        let (batch, batch_published) = row.batch_or_stand_in();
        let published = PublishedRow {
            emsize: row.emsize,
            nhid: row.nhid,
            bptt: row.bptt,
            batch,
            batch_published,
            epochs: row.epochs,
            parameters: row.parameters,
            test_ppl: row.test_perplexity,
        };
        Self { name: row.name.into(), published, measured }
    }
}

impl LengthResult {
    /// A point of the published figure, and what was measured for it.
    pub fn new(length: &tables::Length, measured: Option<Measured>) -> Self {
        let published = PublishedLength { bptt: length.bptt, ppl: length.perplexity };
        Self { published, measured }
    }
}
