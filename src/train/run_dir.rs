//! The folder of a run and its files.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::metrics::MetricsLog;
use super::recipe::Recipe;
use crate::files::run_folder::{CONFIG, WEIGHTS, checkpoints, invalid_setting, read_config};
use crate::model::LmConfig;
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// Contents of config.json, which is written before the first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Version of this crate.
    pub version: String,
    /// Name of the corpus.
    pub corpus: String,
    /// Configuration of the model.
    pub model: LmConfig,
    /// Training settings.
    pub recipe: Recipe,
}

/// The folder of a run: config.json, metrics.jsonl, model.safetensors, checkpoints and results.json.
/// Locked for this process while this value lives.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Locked until dropped; the system releases the lock of a process that is killed.
    _lock: File,
}

impl RunDir {
    /// Opens the folder and locks it; creates it and its parents if needed.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Busy`] if another process has locked it.
    pub fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        let lock_path = path.join("lock");
        // An existing file is not modified.
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(Error::io(&lock_path, "create"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::busy(
                path.display().to_string(),
                "another process is training in this folder",
                "wait for it, stop it, or name another folder",
            )),
            Err(TryLockError::Error(error)) => Err(Error::io(&lock_path, "lock")(error)),
        }
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the files in the folder that a new run would overwrite.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn existing_files(&self) -> Result<Vec<&'static str>> {
        let names = ["model.safetensors", "results.json", "config.json", "metrics.jsonl"];
        let mut files: Vec<_> =
            names.into_iter().filter(|name| self.path.join(name).exists()).collect();
        if !checkpoints(&self.path)?.is_empty() {
            files.insert(0, "checkpoints");
        }
        Ok(files)
    }

    /// Deletes weights, checkpoints and results of an earlier run.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&self) -> Result<()> {
        let old = checkpoints(&self.path)?.into_iter().map(|(_, path)| path);
        let mut old: Vec<_> = old.collect();
        old.extend(["results.json", "model.safetensors"].map(|name| self.path.join(name)));
        for path in old.iter().filter(|path| path.exists()) {
            std::fs::remove_file(path).map_err(Error::io(path, "delete"))?;
        }
        Ok(())
    }

    /// Path of the weights of the best epoch.
    pub fn weights(&self) -> PathBuf {
        self.path.join(WEIGHTS)
    }

    /// Writes config.json.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_config(&self, model: &LmConfig, recipe: &Recipe, corpus: &str) -> Result<()> {
        let config = RunConfig {
            version: env!("CARGO_PKG_VERSION").into(),
            corpus: corpus.into(),
            model: model.clone(),
            recipe: recipe.clone(),
        };
        self.write_json(CONFIG, &config)
    }

    /// Opens metrics.jsonl.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn metrics(&self) -> Result<MetricsLog> {
        MetricsLog::open(&self.path.join("metrics.jsonl"))
    }

    /// Writes a value as JSON, atomically.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.path.join(name);
        let mut bytes = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::io(&path, "write")(error.into()))?;
        bytes.push(b'\n');
        atomic_file::write(&path, &bytes).map_err(Error::io(&path, "write"))
    }

    /// Reads the config.json in the folder of a weight file; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] with the line if the file is invalid.
    pub fn config_of(weights: &Path) -> Result<Option<RunConfig>> {
        let path = weights.with_file_name(CONFIG);
        let Some(config) = read_config::<RunConfig>(&path)? else { return Ok(None) };
        let checked = config.model.check().and_then(|()| config.recipe.check());
        checked.map_err(|error| invalid_setting(&path, error))?;
        Ok(Some(config))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        /// Random corruption of config.json gives an error that names the file, or a valid configuration.
        #[test]
        fn errors_of_corrupted_configurations_name_the_file(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            length in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let run = RunDir::open(folder.path()).unwrap();
            run.write_config(&LmConfig::paper(30, 180), &Recipe::paper(), "text").unwrap();
            let path = folder.path().join("config.json");
            let mut bytes = std::fs::read(&path).unwrap();
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            if let Some(length) = length {
                bytes.truncate(length.index(bytes.len()));
            }
            std::fs::write(&path, bytes).unwrap();
            if let Err(error) = RunDir::config_of(&run.weights()) {
                prop_assert!(error.to_string().contains("config.json"), "{error}");
            }
        }
    }
}
