//! Settings of the experiment.

use std::path::{Path, PathBuf};

use qrnn_ops::matmul::Precision;
use tch::Device;

use super::scale::Scale;
use crate::Result;
use crate::interrupt::Interrupt;
use crate::paper;
use crate::paper::results::ReproduceResults;

/// Settings of the experiment.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Names ([`paper::Row::name`]) of the rows of the table to train.
    pub rows: Vec<String>,
    /// Published sequence lengths ([`paper::LENGTHS`]) of the figure to train.
    pub lengths: Vec<usize>,
    pub scale: Scale,
    /// The first seed of initial weights, dropout masks and sequence lengths.
    pub seed: u64,
    /// Number of seeds: `seed`, `seed + 1` and so on.
    pub seeds: usize,
    pub device: Device,
    pub precision: Precision,
    /// Where each run has its folder; `None` to keep nothing.
    pub folder: Option<PathBuf>,
    /// Whether runs that are in the folder are trained anew.
    pub overwrite: bool,
    /// Command line that repeats the experiment, for the report.
    pub command: String,
    /// Stops every run after its current step; results so far are returned.
    pub interrupt: Interrupt,
}

/// Receives the results so far, at the beginning and after each run.
pub type Update<'a> = dyn FnMut(&ReproduceResults) -> Result<()> + Send + 'a;

impl Experiment {
    /// The whole table and the figure. Trains on the CPU; at full size, on the GPU if one is usable.
    pub fn new(scale: Scale) -> Self {
        let device = match scale {
            Scale::Full => qrnn_ops::device::cuda_or_cpu(0).0,
            Scale::Medium | Scale::Reduced(_) => Device::Cpu,
        };
        Self {
            rows: paper::ROWS.map(|row| row.name.to_owned()).into(),
            lengths: paper::LENGTHS.map(|length| length.bptt).into(),
            scale,
            seed: crate::model::DEFAULT_SEED,
            seeds: 1,
            device,
            precision: Precision::automatic(device, scale.layer_multiplications()),
            folder: None,
            overwrite: false,
            command: "a notebook".into(),
            interrupt: Interrupt::default(),
        }
    }

    /// Only the table: the rows with these names ([`paper::Row::name`]), or all if `rows` is empty.
    pub fn table(scale: Scale, rows: &[&str]) -> Self {
        let all = Self { lengths: vec![], ..Self::new(scale) };
        match rows {
            [] => all,
            _ => Self { rows: rows.iter().map(|&name| name.to_owned()).collect(), ..all },
        }
    }

    /// Only the figure of perplexity against sequence length.
    pub fn lengths(scale: Scale) -> Self {
        Self { rows: vec![], ..Self::new(scale) }
    }

    /// Sets the first seed.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Trains each model with this number of seeds, for means and error bars.
    pub fn seeds(self, seeds: usize) -> Self {
        Self { seeds, ..self }
    }

    /// Keeps each run in a folder of its own in `folder`, with results.json, report and plots beside them. The
    /// same experiment in the same folder goes on where it was.
    pub fn folder(self, folder: impl AsRef<Path>) -> Self {
        Self { folder: Some(folder.as_ref().into()), ..self }
    }

    /// Trains runs that are in the folder anew; runs of another scale or text are deleted.
    pub fn overwrite(self, overwrite: bool) -> Self {
        Self { overwrite, ..self }
    }

    /// Stops every run after its current step on request. The interrupt button of a notebook works without this.
    pub fn interrupt(self, interrupt: Interrupt) -> Self {
        Self { interrupt, ..self }
    }
}
