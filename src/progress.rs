//! Progress reports of long-running work.
//!
//! The library calls a [`Progress`]; `view::progress` has implementations for a terminal and for a notebook.

use serde::{Deserialize, Serialize};

use crate::json;

/// Receives the progress of a training run, an evaluation, a download or an experiment. The default methods
/// do nothing.
pub trait Progress: Send {
    /// Called when a task begins.
    fn start(&mut self, _task: &Task) {}
    /// Called when `by` more units of the task are done.
    fn advance(&mut self, _by: u64) {}
    /// Called when a training step is submitted to the device, which may still be computing it.
    fn step_submitted(&mut self) {}
    /// Called when a training step is done and its loss is known.
    fn step(&mut self, _step: &StepReport) {}
    /// Called when an epoch is done; `best` if its validation loss is the lowest so far.
    fn epoch(&mut self, _epoch: &EpochReport, _best: bool) {}
    /// Reports a notice or warning for the user, in one sentence.
    fn message(&mut self, _text: &str) {}
    /// Called when the task ends or is interrupted.
    fn finish(&mut self) {}
    /// Returns the receiver for one of several concurrent tasks, with a short label.
    fn part(&mut self, _label: &str) -> Box<dyn Progress> {
        Box::new(Silent)
    }
}

/// A task and its size.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// For example, "downloading".
    pub label: String,
    /// The unit of `done` and `total`.
    pub unit: Unit,
    /// Units done earlier, for example by an interrupted download.
    pub done: u64,
    /// All units, including `done`; `None` if unknown.
    pub total: Option<u64>,
}

/// The unit of a [`Task`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a file.
    Bytes,
    /// Tokens of a text.
    Tokens,
    /// Rows of batches, over all epochs of a training run.
    Rows,
    /// Training runs of an experiment.
    Runs,
}

impl Task {
    /// A task with nothing done yet.
    pub fn new(label: impl Into<String>, unit: Unit, total: u64) -> Self {
        Self { label: label.into(), unit, done: 0, total: Some(total) }
    }
}

/// The state of a training run after a step.
#[derive(Debug, Clone, Copy)]
pub struct StepReport {
    /// Steps since the beginning of the run.
    pub step: u64,
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Rows of batches done in this epoch.
    pub row: usize,
    /// Rows of batches per epoch.
    pub rows: usize,
    /// Cross entropy of this step, in nats per token.
    pub loss: f64,
    /// Learning rate of this step.
    pub rate: f64,
    /// Recent speed, in tokens per second.
    pub tokens_per_second: f64,
}

impl StepReport {
    /// Rows of batches done since the beginning of the run.
    pub fn rows_done(&self) -> u64 {
        ((self.epoch - 1) * self.rows + self.row) as u64
    }
}

/// Results of an epoch, as stored in results.json, metrics.jsonl and checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct EpochReport {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Mean cross entropy during training, with dropout, in nats per token.
    #[serde(with = "json::number")]
    pub train_loss: f64,
    /// Mean cross entropy on the validation text, in nats per token.
    #[serde(with = "json::number")]
    pub valid_loss: f64,
    /// exp(valid_loss).
    #[serde(with = "json::number", default = "json::unknown")]
    pub valid_ppl: f64,
    /// Seconds of the epoch, including its validation.
    pub seconds: f64,
}

json::completed!(EpochReport);

impl EpochReport {
    fn complete(&mut self) {
        self.valid_ppl = json::perplexity(self.valid_ppl, self.valid_loss);
    }
}

/// Ignores all reports.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
