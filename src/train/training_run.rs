//! Results of a training run and their text form.

use std::path::PathBuf;

use serde::Serialize;

use super::recipe::Recipe;
use crate::format::perplexity_in_text;
use crate::json;
use crate::model::LmConfig;
use crate::progress::EpochReport;

/// Results of a training run.
#[derive(Debug, Clone, Serialize)]
pub struct TrainingRun {
    /// Configuration of the model.
    #[serde(skip)]
    pub config: LmConfig,
    /// Training settings.
    #[serde(skip)]
    pub recipe: Recipe,
    /// One report per epoch.
    pub epochs: Vec<EpochReport>,
    /// Cross entropy of each step without the regularizers, in nats per token.
    pub losses: Vec<f64>,
    /// Mean cross entropy of the best model on the test split, in nats per token; `None` if the run was
    /// interrupted.
    pub test_loss: Option<f64>,
    /// Perplexity on the test split, exp(test_loss).
    pub test_ppl: Option<f64>,
    /// Number of trained parameters, those of the split softmax included.
    pub parameters: u64,
    /// Training tokens per second of training steps (evaluation not counted).
    pub tokens_per_second: f64,
    /// Training tokens, over all epochs.
    pub tokens: u64,
    /// File with the weights, if they were saved.
    #[serde(serialize_with = "json::optional_path")]
    pub checkpoint: Option<PathBuf>,
    /// Wall time of the run, in seconds.
    pub seconds: f64,
    /// Whether the run was interrupted before its end.
    pub interrupted: bool,
}

impl std::fmt::Display for TrainingRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} parameters, {} tokens in {:.1} s, {:.0} tokens/s",
            self.parameters, self.tokens, self.seconds, self.tokens_per_second
        )?;
        for epoch in &self.epochs {
            writeln!(
                f,
                "epoch {:>3}  train loss {:.4}  valid loss {:.4}  valid ppl {}",
                epoch.epoch,
                epoch.train_loss,
                epoch.valid_loss,
                perplexity_in_text(epoch.valid_loss)
            )?;
        }
        match self.test_loss {
            Some(loss) => {
                write!(f, "test loss {loss:.4}  test ppl {}", perplexity_in_text(loss))
            }
            None => write!(f, "interrupted, not tested"),
        }
    }
}
