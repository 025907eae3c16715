//! Scale, corpus, machine and time of an experiment.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::json;

/// Size of the measured models relative to the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Short name: "reduced scale" or "full size".
    pub name: String,
    /// Reduced sizes: "widths ÷ 12, one epoch of 200,000 tokens".
    pub note: String,
    /// Differences of the training from the paper.
    pub recipe: String,
    /// Whether the models have their published sizes.
    pub full: bool,
    /// Divisor of nhid, and of emsize unless that has its own; `None` in older files.
    #[serde(default)]
    pub width_divisor: Option<f64>,
    /// Divisor of emsize where it differs from that of nhid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_divisor: Option<f64>,
    /// Divisor of the sequence lengths; `None` in older files.
    #[serde(default)]
    pub length_divisor: Option<f64>,
}

/// The training corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Corpus {
    /// "embedded synthetic language", or a folder.
    pub name: String,
    /// Vocabulary size, including `<eos>`.
    pub words: usize,
    pub train_tokens: u64,
    pub valid_tokens: u64,
    pub test_tokens: u64,
    /// Lowest perplexity that a model can reach on the test split; known for the synthetic language only.
    pub best_test_ppl: Option<f64>,
    /// Perplexity of a unigram model on the test split.
    #[serde(with = "json::number")]
    pub unigram_test_ppl: f64,
    /// Checksums of the token ids of the training, validation and test text; empty in older files.
    #[serde(default)]
    pub checksums: Vec<String>,
}

/// The program and machine that trained some of the runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Version of this crate.
    pub version: String,
    /// Commit of this repository; ends in "-dirty" if the tree had other changes.
    pub commit: Option<String>,
    /// Command line, or "a notebook".
    pub command: String,
    pub machine: Machine,
}

/// The machine of an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor name, or "unknown processor".
    pub cpu: String,
    /// Number of cores available to this process.
    pub cores: usize,
    pub system: String,
    /// Device of the models: "CPU", "Cuda(0)".
    pub device: String,
}

impl Machine {
    /// Describes this machine, with the models on `device`.
    pub fn here(device: impl Into<String>) -> Self {
        Self {
            cpu: qrnn_ops::device::processor_name().unwrap_or_else(|| "unknown processor".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            device: device.into(),
        }
    }
}

/// Formats a time as `2026-11-24 09:02:41 UTC`.
pub fn utc(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (hour, minute, second) = time.to_hms();
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", time.date())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn formats_known_times() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(1_735_689_599), "2024-12-31 23:59:59 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
