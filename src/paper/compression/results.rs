//! Results of a compression.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::stage::Stage;
use crate::compress::TensorReport;
use crate::evaluate::neural_cache::NeuralCache;
use crate::files::run_folder::{COMPRESSION, write_json};
use crate::format::{aligned, megabytes, perplexity, score, thousands};
use crate::paper::results::Corpus;
use crate::{Error, Result, json};

/// What a compression came to. Displays as a table of its stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompressionResults {
    /// Name of the run: that of its folder; empty without one.
    #[serde(default)]
    pub name: String,
    /// The text that the perplexities are of; `None` in older files.
    #[serde(default)]
    pub corpus: Option<Corpus>,
    pub stages: Vec<Stage>,
    /// Each tensor of the compressed file.
    pub tensors: Vec<TensorReport>,
    /// The neural cache, if one was asked for.
    pub cache: Option<NeuralCache>,
    /// Size of the file, its header included.
    pub file_bytes: u64,
    /// Bits of all tensors as they are counted.
    pub counted_bits: u64,
    /// Whether it was interrupted before its end; the stages are those before.
    pub interrupted: bool,
}

impl CompressionResults {
    /// Reads the results of a folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] with the line if they cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(COMPRESSION);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
        serde_json::from_str(&text).map_err(|error| {
            let problem =
                format!("are not the results of a compression: {}", json::problem(&error));
            Error::bad_line(&path, error.line() as u64, problem, "compress the model again")
        })
    }

    /// Writes the results into the folder of the compressed model.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(COMPRESSION), self)
    }

    /// The headings and the cells of each stage.
    pub fn cells(&self) -> Vec<Vec<String>> {
        Self::cells_of(&self.stages)
    }

    /// The headings and the cells of stages.
    pub(crate) fn cells_of(stages: &[Stage]) -> Vec<Vec<String>> {
        let headings =
            ["stage", "valid ppl", "test ppl", "stored", "operations (M)", "score", "tokens/s"];
        let row = |stage: &Stage| {
            vec![
                stage.name.clone(),
                perplexity(stage.valid_ppl),
                perplexity(stage.test_ppl),
                megabytes(stage.bytes),
                format!("{:.3}", stage.operations / 1e6),
                score(stage.score),
                thousands(stage.tokens_per_second as u64),
            ]
        };
        let headings = headings.map(String::from).to_vec();
        [headings].into_iter().chain(stages.iter().map(row)).collect()
    }

    /// The text, the cache and the size of the file.
    pub(crate) fn summary(&self) -> String {
        if self.interrupted {
            return "interrupted".into();
        }
        let text = self.corpus.as_ref().map(|corpus| format!("corpus {}", corpus.name));
        let file = format!(
            "file of {}, {} of them counted",
            megabytes(self.file_bytes),
            megabytes(self.counted_bits.div_ceil(8))
        );
        let cache = self.cache.map(|cache| cache.to_string());
        text.into_iter().chain(cache).chain([file]).collect::<Vec<_>>().join("; ")
    }
}

impl std::fmt::Display for CompressionResults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&aligned(&self.cells()))?;
        f.write_str(&self.summary())
    }
}
