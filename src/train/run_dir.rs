//! A run's folder and the files in it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::metrics::MetricsLog;
use super::recipe::Recipe;
use crate::files::run_folder::{CONFIG, WEIGHTS, checkpoints, invalid_setting, read_config};
use crate::model::LmConfig;
use crate::{Error, Result};
use qrnn_ops::atomic_file;

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

/// A run's folder: config.json, metrics.jsonl, model.safetensors, checkpoints, results.json. It is
/// this process's alone while this value lives.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held until dropped; the system gives it up for a process that was killed.
    _lock: File,
}

impl RunDir {
    /// Opens the folder, which is made where there is none, its parents too.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Usage`] where another process is at work in it.
    pub fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        let lock_path = path.join("lock");
        // A file of that name, if there is one, keeps what it holds.
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(Error::io(&lock_path, "create"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::usage(
                format!("--out {}", path.display()),
                "another process is training in this folder",
                "wait for it, stop it, or name another folder",
            )),
            Err(TryLockError::Error(error)) => Err(Error::io(&lock_path, "lock")(error)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files of a run, or of somebody else under the same names, that lie in the folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn held(&self) -> Result<Vec<&'static str>> {
        let named = ["model.safetensors", "results.json", "config.json", "metrics.jsonl"];
        let mut held: Vec<_> =
            named.into_iter().filter(|name| self.path.join(name).exists()).collect();
        if !checkpoints(&self.path)?.is_empty() {
            held.insert(0, "checkpoints");
        }
        Ok(held)
    }

    /// Deletes what a former run left, so that none of it is taken for this one's.
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

    /// The best model's weights.
    pub fn weights(&self) -> PathBuf {
        self.path.join(WEIGHTS)
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
        self.write_json(CONFIG, &config)
    }

    /// Opens metrics.jsonl.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn metrics(&self) -> Result<MetricsLog> {
        MetricsLog::open(&self.path.join("metrics.jsonl"))
    }

    /// Writes a value as JSON, whole or not at all.
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

    /// The config.json beside a weight file, `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::BadFile`] with the line where it is not what a run writes.
    pub fn config_beside(weights: &Path) -> Result<Option<RunConfig>> {
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

        /// A spoiled config.json is refused by its name, or says what can be said.
        #[test]
        fn spoiled_configurations_are_refused_by_name(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let run = RunDir::open(folder.path()).unwrap();
            run.write_config(&LmConfig::paper(30, 180), &Recipe::paper(), "text").unwrap();
            let path = folder.path().join("config.json");
            let mut bytes = std::fs::read(&path).unwrap();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            std::fs::write(&path, bytes).unwrap();
            if let Err(error) = RunDir::config_beside(&run.weights()) {
                prop_assert!(error.to_string().contains("config.json"), "{error}");
            }
        }
    }
}
