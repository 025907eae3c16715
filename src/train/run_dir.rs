//! A run's folder and the files in it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::metrics::MetricsLog;
use super::recipe::Recipe;
use crate::model::LmConfig;
use crate::{Error, Result, atomic_file};

/// What config.json holds, written before the first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The crate's version.
    pub version: String,
    /// The corpus's name.
    pub corpus: String,
    /// The model.
    pub model: LmConfig,
    /// The training.
    pub recipe: Recipe,
}

/// A run's folder: config.json, metrics.jsonl, model.safetensors, results.json.
#[derive(Debug)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Makes the folder, its parents too.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        Ok(Self(path.into()))
    }

    /// The best model's weights.
    pub fn weights(&self) -> PathBuf {
        self.0.join("model.safetensors")
    }

    /// # Errors
    /// [`Error::Io`].
    pub fn write_config(&self, model: &LmConfig, recipe: &Recipe, corpus: &str) -> Result<()> {
        let config = RunConfig {
            version: env!("CARGO_PKG_VERSION").into(),
            corpus: corpus.into(),
            model: model.clone(),
            recipe: recipe.clone(),
        };
        self.write_json("config.json", &config)
    }

    /// Begins metrics.jsonl.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn metrics(&self) -> Result<MetricsLog> {
        MetricsLog::create(&self.0.join("metrics.jsonl"))
    }

    /// Writes a value as JSON, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.0.join(name);
        let mut bytes = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::io(&path, "write")(error.into()))?;
        bytes.push(b'\n');
        atomic_file::write(&path, &bytes)
    }

    /// The config.json beside a weight file, `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::BadFile`] with the line where it is not what a run writes.
    pub fn config_beside(weights: &Path) -> Result<Option<RunConfig>> {
        let path = weights.with_file_name("config.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&path, "read")(error)),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Error::bad_line(
                &path,
                error.line() as u64,
                format!("not the configuration of a run ({error})"),
                "mend that field, or move the file away: the sizes are then read off the weights",
            )
        })
    }
}
