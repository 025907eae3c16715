//! Results of a training run and their text form.

use std::path::PathBuf;

use qrnn_ops::matmul::Precision;
use serde::Serialize;
use serde_json::Value;

use super::recipe::Recipe;
use crate::format::{duration, perplexity_in_text, thousands};
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
    /// Optimizer steps since the beginning of the run.
    pub steps: u64,
    /// How matrix products of the training steps were computed.
    #[serde(rename = "products")]
    pub precision: Precision,
    /// File with the weights, if they were saved.
    #[serde(serialize_with = "json::optional_path")]
    pub checkpoint: Option<PathBuf>,
    /// Wall time of this call, in seconds.
    pub seconds: f64,
    /// Whether the run was interrupted before its end.
    pub interrupted: bool,
}

impl TrainingRun {
    /// The content of results.json. The losses of single steps are in it if the recipe limits the number of
    /// steps; those of a whole run are in metrics.jsonl.
    ///
    /// # Errors
    /// If encoding fails, which valid results do not cause.
    pub fn to_json(&self) -> serde_json::Result<Value> {
        let mut json = serde_json::to_value(self)?;
        if self.recipe.steps.is_none()
            && let Value::Object(fields) = &mut json
        {
            fields.remove("losses");
        }
        Ok(json)
    }

    /// Seconds of the finished epochs, in this call and earlier ones.
    pub(crate) fn epoch_seconds(&self) -> f64 {
        self.epochs.iter().map(|epoch| epoch.seconds).sum()
    }

    /// Sizes and times in one line. The speed is that of training steps; a resumed run has tokens of earlier
    /// calls.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} parameters; {} tokens in all epochs at {} tokens/s; this call took {}, evaluations included",
            thousands(self.parameters),
            thousands(self.tokens),
            thousands(self.tokens_per_second.max(0.0) as u64),
            duration(self.seconds)
        )
    }
}

impl std::fmt::Display for TrainingRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.summary())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_separates_the_speed_of_steps_from_the_time_of_the_call() {
        let run = TrainingRun {
            config: LmConfig::paper(4, 4),
            recipe: Recipe::paper(),
            epochs: vec![],
            losses: vec![],
            test_loss: Some(1.0),
            test_ppl: Some(1f64.exp()),
            parameters: 382_172,
            tokens_per_second: 10_738.4,
            tokens: 399_984,
            steps: 2788,
            precision: Precision::Single,
            checkpoint: None,
            seconds: 125.0,
            interrupted: false,
        };
        assert_eq!(
            run.to_string(),
            "382,172 parameters; 399,984 tokens in all epochs at 10,738 tokens/s; this call took \
             2 min 5 s, evaluations included\ntest loss 1.0000  test ppl 2.72"
        );
    }
}
