//! What a run of `reproduce` found: as data (`results.json`), as a page (`report.html`) and as
//! text. Published figures and measured ones stay in columns of their own throughout.

pub(crate) mod cells;
mod clock;
mod facts;
mod page;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::paper;
use crate::paper::operation_counts::{OpTable, count_ops};
use crate::view::plot::{self, Plot, Point};
use crate::{Error, Result, json};
use qrnn_ops::atomic_file;

pub use clock::utc;
pub use facts::{Corpus, Machine, Scale};

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
    pub published: Vec<crate::paper::operation_counts::OpRow>,
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
    /// Optimiser steps.
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

impl From<&Measured> for Point {
    fn from(run: &Measured) -> Self {
        Self {
            emsize: run.emsize,
            nhid: run.nhid,
            bptt: run.bptt,
            parameters: run.parameters,
            perplexity: run.test_ppl,
        }
    }
}

impl OpTables {
    /// The entry's tables.
    pub fn of_entry() -> Self {
        let published = paper::OPERATIONS.iter().map(|row| crate::paper::operation_counts::OpRow {
            op: row.op.into(),
            params_mbytes: row.params_mbytes,
            mults_m: row.mults_m,
            adds_m: row.adds_m,
            mflops: row.mflops,
        });
        Self { published: published.collect(), counted: count_ops(&paper::entry().config()) }
    }
}

impl ParameterCount {
    /// Counts the model of each of these rows.
    pub fn of_rows<'a>(rows: impl IntoIterator<Item = &'a paper::Row>) -> Vec<Self> {
        let count = |row: &paper::Row| {
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
    pub fn new(row: &paper::Row, measured: Option<Measured>) -> Self {
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
    pub fn new(length: &paper::Length, measured: Option<Measured>) -> Self {
        let published = PublishedLength { bptt: length.bptt, ppl: length.perplexity };
        Self { published, measured }
    }
}

impl ReproduceResults {
    /// Test perplexity against parameters.
    pub fn parameters_plot(&self) -> Plot {
        let runs: Vec<Measured> = self.rows.iter().filter_map(|row| row.measured.clone()).collect();
        self.noted(plot::perplexity_vs_parameters(&runs))
    }

    /// Test perplexity against sequence length.
    pub fn lengths_plot(&self) -> Plot {
        let runs: Vec<Measured> =
            self.lengths.iter().filter_map(|length| length.measured.clone()).collect();
        self.noted(plot::perplexity_vs_bptt(&runs))
    }

    fn noted(&self, plot: Plot) -> Plot {
        let plot = plot.measured_on(format!("{}, {}", self.corpus.name, self.scale.note));
        match self.corpus.best_test_ppl {
            Some(best) => plot.best_possible(best),
            None => plot,
        }
    }

    /// The data as indented JSON.
    ///
    /// # Errors
    /// None that the fields could cause; the encoder may still refuse.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map(|json| json + "\n")
            .map_err(|e| Error::io("results.json", "encode")(e.into()))
    }

    /// The page: one HTML document that needs nothing else.
    ///
    /// # Errors
    /// [`Error::Plot`] where a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String> {
        page::html(self)
    }

    /// The result tables for a terminal.
    pub fn to_text(&self) -> String {
        text::tables(self)
    }

    /// Writes `results.json`, `report.html` and both plots as SVG and PNG into a folder that
    /// exists, and gives the paths.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder or disk refuses, [`Error::Plot`] where drawing fails.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        let folder = folder.as_ref();
        let mut paths = vec![folder.join("results.json"), folder.join("report.html")];
        let bytes = self.to_json()?;
        atomic_file::write(&paths[0], bytes.as_bytes()).map_err(Error::io(&paths[0], "write"))?;
        for plot in [self.parameters_plot(), self.lengths_plot()] {
            paths.extend(plot.save(folder, plot.name())?);
        }
        let bytes = self.to_html()?;
        atomic_file::write(&paths[1], bytes.as_bytes()).map_err(Error::io(&paths[1], "write"))?;
        Ok(paths)
    }
}
