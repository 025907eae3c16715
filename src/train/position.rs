//! The position of a run: how far it is, without its tensors.

use serde::{Deserialize, Serialize};

use super::recipe::Recipe;
use crate::progress::EpochReport;

/// How far a run is, as a checkpoint stores it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RunPosition {
    /// Steps done since the beginning of the run.
    pub step: u64,
    /// The current epoch, counted from 1.
    pub epoch: usize,
    /// Rows of the current epoch that are done.
    pub row: usize,
    /// Sum of the current epoch's losses, each weighted by its tokens.
    pub loss_sum: f64,
    /// Tokens of the current epoch trained on.
    #[serde(rename = "words")]
    pub epoch_tokens: usize,
    /// Seconds spent on the current epoch.
    pub seconds: f64,
    /// The finished epochs.
    pub epochs: Vec<EpochReport>,
    /// The lowest validation loss so far, whose weights are in model.safetensors.
    pub best: Option<f64>,
    /// Tokens trained on since the beginning of the run.
    pub tokens: u64,
    /// Seconds spent in training steps.
    pub step_seconds: f64,
    /// Bytes of metrics.jsonl that belong to the finished steps.
    pub log_bytes: u64,
    /// The steps since the last line of the log.
    pub since_log: LogInterval,
}

/// Sums over the steps of one line of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, usize, f64)", into = "(f64, usize, f64)")]
pub(super) struct LogInterval {
    /// Sum of the losses, each weighted by its tokens.
    pub loss_sum: f64,
    pub tokens: usize,
    pub seconds: f64,
}

impl From<(f64, usize, f64)> for LogInterval {
    fn from((loss_sum, tokens, seconds): (f64, usize, f64)) -> Self {
        Self { loss_sum, tokens, seconds }
    }
}

impl From<LogInterval> for (f64, usize, f64) {
    fn from(interval: LogInterval) -> Self {
        (interval.loss_sum, interval.tokens, interval.seconds)
    }
}

impl LogInterval {
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(1e-9)
    }

    pub fn mean_loss(&self) -> f64 {
        self.loss_sum / self.tokens.max(1) as f64
    }
}

impl RunPosition {
    /// The beginning of a run.
    pub fn start() -> Self {
        Self {
            step: 0,
            epoch: 1,
            row: 0,
            loss_sum: 0.0,
            epoch_tokens: 0,
            seconds: 0.0,
            epochs: vec![],
            best: None,
            tokens: 0,
            step_seconds: 0.0,
            log_bytes: 0,
            since_log: LogInterval::default(),
        }
    }

    /// Adds a finished step of `tokens` in `rows` rows.
    pub fn add_step(&mut self, loss: f64, tokens: usize, rows: usize, seconds: f64) {
        self.step += 1;
        self.row += rows;
        self.loss_sum += loss * tokens as f64;
        self.epoch_tokens += tokens;
        self.tokens += tokens as u64;
        self.step_seconds += seconds;
        self.since_log.loss_sum += loss * tokens as f64;
        self.since_log.tokens += tokens;
        self.since_log.seconds += seconds;
    }

    /// Begins the next epoch.
    pub fn next_epoch(&mut self) {
        self.epoch += 1;
        (self.row, self.loss_sum, self.epoch_tokens, self.seconds) = (0, 0.0, 0, 0.0);
    }

    /// Restores a best loss that was not finite: JSON stores it as null, like a missing one. There is a best
    /// loss once an epoch is done, or once finetuning has validated its initial weights.
    pub fn restore_best(&mut self, recipe: &Recipe) {
        let validated = !self.epochs.is_empty() || (recipe.finetune && self.step > 0);
        if self.best.is_none() && validated {
            self.best = Some(f64::INFINITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reread(position: &RunPosition, recipe: &Recipe) -> RunPosition {
        let json = serde_json::to_string(position).unwrap();
        let mut read: RunPosition = serde_json::from_str(&json).unwrap();
        read.restore_best(recipe);
        read
    }

    #[test]
    fn an_infinite_best_loss_is_restored_and_a_missing_one_is_not() {
        let (recipe, finetuning) = (Recipe::paper(), Recipe { finetune: true, ..Recipe::paper() });
        let report = EpochReport {
            epoch: 1,
            train_loss: 2.0,
            valid_loss: f64::INFINITY,
            valid_ppl: f64::INFINITY,
            seconds: 1.0,
        };
        let unfinished = RunPosition { step: 7, ..RunPosition::start() };
        assert_eq!(reread(&unfinished, &recipe), unfinished);
        let best = Some(f64::INFINITY);
        let done = RunPosition { epochs: vec![report], best, ..unfinished.clone() };
        assert_eq!(reread(&done, &recipe), done);
        let validated = RunPosition { best, ..unfinished };
        assert_eq!(reread(&validated, &finetuning), validated);
        let stopped = RunPosition::start();
        assert_eq!(reread(&stopped, &finetuning), stopped);
    }
}
