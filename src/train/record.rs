//! Records of metrics.jsonl.

use serde::{Deserialize, Serialize};

use crate::json;
use crate::progress::EpochReport;

/// One line of metrics.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", remote = "Self")]
pub enum Record {
    /// Training steps since the previous record of this kind.
    Steps {
        /// Steps since the start of the run.
        step: u64,
        /// Epoch, counted from 1.
        epoch: usize,
        /// Mean cross entropy of these steps, in nats per token.
        #[serde(with = "json::number")]
        loss: f64,
        /// Learning rate of the last step.
        #[serde(with = "json::number")]
        rate: f64,
        /// Training tokens per second.
        #[serde(with = "json::number")]
        tokens_per_second: f64,
    },
    /// The end of an epoch.
    Epoch(EpochReport),
    /// The end of the run.
    Test {
        /// Mean cross entropy of the best model on the test split, in nats per token.
        #[serde(with = "json::number")]
        loss: f64,
        /// Perplexity, exp(loss).
        #[serde(with = "json::number", default = "json::unknown")]
        ppl: f64,
    },
}

json::completed!(Record);

impl Record {
    fn complete(&mut self) {
        if let Self::Test { loss, ppl } = self {
            *ppl = json::perplexity(*ppl, *loss);
        }
    }
}
