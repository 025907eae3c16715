//! The folder of a run and its files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checkpoint::first_difference;
use super::metrics::MetricsLog;
use super::recipe::Recipe;
use crate::compress::Gradual;
use crate::data::{Corpus, IdOrder};
use crate::files::run_folder::{
    self, COMPRESSION, CONFIG, RESULTS, WEIGHTS, WORDS, checkpoints, invalid_setting, read_config,
};
use crate::files::run_lock::{Claim, Owner, RunLock, Watch, claim};
use crate::interrupt::Interrupt;
use crate::model::LmConfig;
use crate::progress::{Progress, Silent};
use crate::{Error, Result};

/// Contents of config.json, which is written before the first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Version of this crate.
    pub version: String,
    /// Name of the corpus.
    pub corpus: String,
    /// Order of the corpus's token ids.
    #[serde(default, skip_serializing_if = "IdOrder::is_first_appearance")]
    pub ids: IdOrder,
    /// Configuration of the model.
    pub model: LmConfig,
    /// Training settings.
    pub recipe: Recipe,
    /// What is pruned and rounded, of a run that compresses its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Gradual>,
}

impl RunConfig {
    /// Checks that the run in `folder` has these settings.
    ///
    /// # Errors
    /// [`Error::Busy`] with the first setting that differs.
    pub(crate) fn check_settings(
        &self,
        folder: &Path,
        model: &LmConfig,
        recipe: &Recipe,
    ) -> Result<()> {
        match first_difference((&self.model, &self.recipe), (model, recipe)) {
            None => Ok(()),
            Some((field, theirs, ours)) => Err(Error::busy(
                folder.display().to_string(),
                format!("holds a run with {field} {theirs}, but this call has {ours}"),
                "name another folder, or train the run anew with `.overwrite(true)`",
            )),
        }
    }
}

/// The folder of a run: config.json, metrics.jsonl, model.safetensors, checkpoints and results.json.
/// Owned by this process while this value or a clone of it lives.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    lock: Arc<RunLock>,
}

/// A folder, or why this process cannot have it.
pub(crate) enum Claimed {
    Ours(RunDir),
    /// This process works in it.
    Live(String),
    /// Its process on another machine has not been watched for long enough.
    Unclear(Owner),
}

impl RunDir {
    /// Takes the folder for this process; creates it and its parents if needed. Takes up to a minute if a
    /// process on another machine, which may have died, has not released it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Busy`] if another process works in it.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &Interrupt::default(), &mut Silent)
    }

    /// As [`RunDir::open`]; says what it waits for, and stops waiting at an interrupt.
    ///
    /// # Errors
    /// As [`RunDir::open`]; [`Error::Interrupted`].
    pub(super) fn open_with(
        path: &Path,
        interrupt: &Interrupt,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let (mut watch, mut waits) = (None, false);
        loop {
            match Self::claim(path, &mut watch)? {
                Claimed::Ours(folder) => return Ok(folder),
                Claimed::Live(owner) => return Err(in_use(path, &owner)),
                Claimed::Unclear(owner) if !waits => {
                    progress.message(&format!(
                        "{} belongs to {owner}: watching for a minute whether it lives",
                        path.display()
                    ));
                    waits = true;
                }
                Claimed::Unclear(_) => std::thread::sleep(Duration::from_millis(200)),
            }
            interrupt.check(|| format!("{} was not changed", path.display()))?;
        }
    }

    /// Takes the folder, if that is possible at once.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn claim(path: &Path, watch: &mut Option<Watch>) -> Result<Claimed> {
        std::fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        Ok(match claim(path, watch)? {
            Claim::Ours(lock) => Claimed::Ours(Self { path: path.into(), lock: Arc::new(lock) }),
            Claim::Unclear(owner) => Claimed::Unclear(owner),
            Claim::Live(Some(owner)) => Claimed::Live(owner.to_string()),
            Claim::Live(None) => Claimed::Live("of an unknown name".into()),
        })
    }

    /// Checks that the folder still belongs to this process.
    ///
    /// # Errors
    /// [`Error::Busy`] if this process stood still for more than a minute and another one took the folder.
    pub(crate) fn check_owned(&self) -> Result<()> {
        if !self.lock.is_lost() {
            return Ok(());
        }
        Err(Error::busy(
            self.path.display().to_string(),
            "this process stood still for so long that another one has taken the folder",
            "leave the run to the other process, or repeat the command when that one has ended",
        ))
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
        let names = [WEIGHTS, RESULTS, COMPRESSION, CONFIG, "metrics.jsonl"];
        let mut files: Vec<_> =
            names.into_iter().filter(|name| self.path.join(name).exists()).collect();
        if !checkpoints(&self.path)?.is_empty() {
            files.insert(0, "checkpoints");
        }
        Ok(files)
    }

    /// Deletes weights, checkpoints and results of an earlier run or compression.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&self) -> Result<()> {
        let old = checkpoints(&self.path)?.into_iter().map(|(_, path)| path);
        let mut old: Vec<_> = old.collect();
        old.extend([RESULTS, COMPRESSION, WEIGHTS, WORDS].map(|name| self.path.join(name)));
        for path in old.iter().filter(|path| path.exists()) {
            std::fs::remove_file(path).map_err(Error::io(path, "delete"))?;
        }
        Ok(())
    }

    /// Makes the folder ready for a run with these settings that continues from a checkpoint, if there is one.
    ///
    /// # Errors
    /// [`Error::Busy`] if its config.json has other settings; [`Error::Io`].
    pub(crate) fn prepare(&self, model: &LmConfig, recipe: &Recipe) -> Result<()> {
        if let Some(config) = Self::config_of(&self.weights())? {
            config.check_settings(&self.path, model, recipe)?;
        }
        // Killed before its first checkpoint, a run leaves weights that it can do nothing with.
        if checkpoints(&self.path)?.is_empty() { self.clear() } else { Ok(()) }
    }

    /// Deletes the checkpoints, which a finished run of an experiment does not need.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn delete_checkpoints(&self) -> Result<()> {
        for (_, path) in checkpoints(&self.path)? {
            std::fs::remove_file(&path).map_err(Error::io(&path, "delete"))?;
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
    pub fn write_config(
        &self,
        model: &LmConfig,
        recipe: &Recipe,
        corpus: &Corpus,
        compression: Option<&Gradual>,
    ) -> Result<()> {
        let config = RunConfig {
            version: env!("CARGO_PKG_VERSION").into(),
            corpus: corpus.name().into(),
            ids: corpus.ids(),
            model: model.clone(),
            recipe: recipe.clone(),
            compression: compression.cloned(),
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
        run_folder::write_json(&self.path.join(name), value)
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

/// The error of a folder that another process works in.
pub(crate) fn in_use(path: &Path, owner: &str) -> Error {
    Error::busy(
        path.display().to_string(),
        format!("another process is training in this folder ({owner})"),
        "wait for it, stop it, or name another folder",
    )
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
            let corpus = Corpus::from_ids("text", 1, [vec![0], vec![0], vec![0]]).unwrap().by_frequency();
            run.write_config(&LmConfig::paper(30, 180), &Recipe::paper(), &corpus, None).unwrap();
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
