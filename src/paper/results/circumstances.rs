//! The circumstances of a run: scale, text, machine.

use serde::{Deserialize, Serialize};

use crate::json;

/// How the measured models differ in size from the published ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Short name: "reduced scale" or "full size".
    pub name: String,
    /// What was reduced and by how much: "widths ÷ 12, one epoch of 200,000 words".
    pub note: String,
    /// How they were trained where that differs from the paper.
    pub recipe: String,
    /// Whether the models have the published sizes.
    pub full: bool,
}

/// The text that the models were trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Corpus {
    /// What it is: "embedded synthetic language", or a folder.
    pub name: String,
    /// Word types, `<eos>` counted.
    pub words: usize,
    /// Words of the training split.
    pub train_tokens: u64,
    /// Words of the validation split.
    pub valid_tokens: u64,
    /// Words of the test split.
    pub test_tokens: u64,
    /// Lowest perplexity that any model can reach on the test split, where the text's law is known.
    pub best_test_ppl: Option<f64>,
    /// Perplexity on the test split of word frequencies alone.
    #[serde(with = "json::number")]
    pub unigram_test_ppl: f64,
}

/// The machine that the run took place on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor, or "unknown processor".
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Operating system and architecture.
    pub system: String,
    /// What the models were trained on: "CPU", "CUDA (NVIDIA H100)".
    pub device: String,
}

impl Machine {
    /// This machine, with the models on `device`.
    pub fn here(device: impl Into<String>) -> Self {
        Self {
            cpu: cpu_name().unwrap_or_else(|| "unknown processor".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            device: device.into(),
        }
    }
}

/// The processor's name as Linux tells it.
fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned()).filter(|name| !name.is_empty())
}
