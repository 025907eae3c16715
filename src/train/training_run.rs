//! Results of a training run.

use std::path::PathBuf;

use serde::Serialize;

use super::recipe::Recipe;
use crate::format::perplexity_in_text;
use crate::json;
use crate::model::LmConfig;
use crate::progress::EpochReport;

/// What a training run came to.
#[derive(Debug, Clone, Serialize)]
pub struct TrainingRun {
    /// The model's configuration.
    #[serde(skip)]
    pub config: LmConfig,
    /// The recipe.
    #[serde(skip)]
    pub recipe: Recipe,
    /// One entry an epoch.
    pub epochs: Vec<EpochReport>,
    /// Cross entropy of each step, in nats a word, without the regularizers.
    pub losses: Vec<f64>,
    /// Mean cross entropy of the best model on the test text, in nats a word.
    pub test_loss: Option<f64>,
    /// exp(test_loss).
    pub test_ppl: Option<f64>,
    /// Trained numbers of the model.
    pub parameters: u64,
    /// Words trained on, over the time spent in training steps.
    pub tokens_per_second: f64,
    /// Words trained on.
    pub tokens: u64,
    /// Where the weights were written, if anywhere.
    #[serde(serialize_with = "json::optional_path")]
    pub checkpoint: Option<PathBuf>,
    /// Time of the whole run.
    pub seconds: f64,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
}

impl std::fmt::Display for TrainingRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} parameters, {} words in {:.1} s, {:.0} words/s",
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
