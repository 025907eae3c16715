//! Results of the experiment, as stored in `results.json`. Published and measured numbers are always separate
//! fields.

mod circumstances;
mod difference;
mod measured;
mod op_tables;
mod rows;
mod statistics;

use serde::{Deserialize, Serialize};

pub use circumstances::{Corpus, Machine, Origin, Scale, utc};
pub use difference::{Between, Difference};
pub use measured::{Measured, SeedRun};
pub use op_tables::OpTables;
pub use rows::{LengthResult, ParameterCount, RowResult};

/// The format of results.json: 1 has no runs, 2 has the runs of each row and length.
pub const FORMAT: u32 = 2;

/// Results and settings of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReproduceResults {
    /// [`FORMAT`] of the program that wrote the file.
    #[serde(default = "first_format")]
    pub format: u32,
    pub version: String,
    pub commit: Option<String>,
    /// Command line that repeats the experiment.
    pub command: String,
    /// Start time, formatted by [`utc`].
    pub started: String,
    /// Seconds of training and validation, added over the runs.
    pub seconds: f64,
    /// The first seed.
    pub seed: u64,
    /// All seeds, in ascending order; empty in older files.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Whether an interrupt left runs missing.
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
    /// Differences between neighbours, if there are several seeds.
    #[serde(default)]
    pub differences: Vec<Difference>,
    /// Names of the runs that have no result yet.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What trained the runs, and the names of those runs.
    #[serde(default)]
    pub origins: Vec<RunsOf>,
}

/// An [`Origin`] and its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsOf {
    #[serde(flatten)]
    pub origin: Origin,
    /// Names of runs: emsize-nhid-bptt-s*seed*, of the sizes that were trained.
    pub runs: Vec<String>,
}

const fn first_format() -> u32 {
    1
}

impl ReproduceResults {
    /// Computes the differences between neighbours from the measured rows and lengths.
    pub(crate) fn compare(&mut self) {
        self.differences = difference::differences(&self.rows, &self.lengths);
    }

    /// The measured rows of the table.
    pub fn measured_rows(&self) -> impl Iterator<Item = &Measured> {
        self.rows.iter().filter_map(|row| row.measured.as_ref())
    }

    /// The measured sequence lengths.
    pub fn measured_lengths(&self) -> impl Iterator<Item = &Measured> {
        self.lengths.iter().filter_map(|length| length.measured.as_ref())
    }
}
