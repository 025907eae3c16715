//! The progress of long work, as a caller or a screen receives it.
//!
//! The library reports; how it looks is up to the receiver. `view::progress` has receivers for a terminal
//! and for a notebook.

use serde::{Deserialize, Serialize};

use crate::json;

/// Receives the progress of a training run, an evaluation, a download or an experiment. Every method may be
/// left as it is.
pub trait Progress: Send {
    /// A task begins.
    fn start(&mut self, _task: &Task) {}
    /// `by` more units of the task are done.
    fn advance(&mut self, _by: u64) {}
    /// A training step was submitted to the device, which may still be computing it.
    fn step_submitted(&mut self) {}
    /// A training step is done and its loss is known.
    fn step(&mut self, _step: &StepReport) {}
    /// An epoch is done; `best` where its validation loss is the lowest so far.
    fn epoch(&mut self, _epoch: &EpochReport, _best: bool) {}
    /// Something that the user should know and that does not stop the work, in one sentence.
    fn message(&mut self, _text: &str) {}
    /// The task is over, or was stopped.
    fn finish(&mut self) {}
    /// The progress of a part that runs at the same time as others, with a short label.
    fn part(&mut self, _label: &str) -> Box<dyn Progress> {
        Box::new(Silent)
    }
}

/// Work of a known or unknown amount.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// What is done: "downloading".
    pub label: String,
    /// What is counted.
    pub unit: Unit,
    /// Units that were done before: a download may continue.
    pub done: u64,
    /// All units, `done` included; `None` where nobody knows.
    pub total: Option<u64>,
}

/// What a [`Task`] counts.
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
    /// A task from its beginning.
    pub fn new(label: impl Into<String>, unit: Unit, total: u64) -> Self {
        Self { label: label.into(), unit, done: 0, total: Some(total) }
    }
}

/// State of a training run after a step.
#[derive(Debug, Clone, Copy)]
pub struct StepReport {
    /// Steps done since the beginning of the run.
    pub step: u64,
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Rows of this epoch that are done.
    pub row: usize,
    /// Rows of an epoch.
    pub rows: usize,
    /// Cross entropy of this step, in nats per token.
    pub loss: f64,
    /// Learning rate of this step.
    pub rate: f64,
    /// Recent speed, in tokens per second.
    pub tokens_per_second: f64,
}

/// Results of an epoch, as results.json, metrics.jsonl and checkpoints hold them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct EpochReport {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Mean cross entropy in training, with dropout, in nats per token.
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

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
