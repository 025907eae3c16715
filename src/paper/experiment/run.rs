//! A finished run, in memory or in its folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{Job, run_name};
use super::scale::Sizes;
use crate::files::run_folder::{CONFIG, RESULTS};
use crate::model::LmConfig;
use crate::paper::operation_counts::count_ops;
use crate::paper::results::{Corpus, Measured, Origin, Scale};
use crate::progress::EpochReport;
use crate::train::{Recipe, RunConfig, RunDir, TrainingRun};
use crate::{Error, Result, json};

/// The key of results.json in a run's folder that says which experiment the run belongs to.
const EXPERIMENT: &str = "experiment";

/// Where a run of an experiment comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Circumstances {
    pub scale: Scale,
    pub corpus: Corpus,
    pub origin: Origin,
}

/// A run with its results.
#[derive(Debug, Clone)]
pub(super) struct FinishedRun {
    pub name: String,
    pub seed: u64,
    pub folder: Option<PathBuf>,
    pub measured: Measured,
    pub circumstances: Circumstances,
}

/// The folder of a run.
pub(super) enum StoredRun {
    Finished(Box<FinishedRun>),
    /// Without results, with the name that its settings give it.
    Unfinished(String),
}

/// The fields of results.json that are read back.
#[derive(Deserialize)]
struct Stored {
    epochs: Vec<EpochReport>,
    test_loss: Option<f64>,
    parameters: u64,
    tokens: u64,
    #[serde(default)]
    steps: u64,
    interrupted: bool,
    #[serde(default)]
    experiment: Option<Circumstances>,
}

impl Circumstances {
    /// The fields of a run's results.json that say this, and where its weights lie in the folder of the
    /// experiment.
    pub fn fields(&self, weights: &Path) -> serde_json::Map<String, Value> {
        let experiment = serde_json::to_value(self).unwrap_or_default();
        let weights = Value::from(json::path(weights));
        [(EXPERIMENT.to_owned(), experiment), ("checkpoint".to_owned(), weights)]
            .into_iter()
            .collect()
    }

    /// Checks that another run may be in the same table: same scale, recipe and text. `ours` and `theirs` name
    /// the two.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the first difference.
    pub fn check_same(&self, other: &Self, theirs: &str, remedy: &str) -> Result<()> {
        let [mine, foreign] = [self, other].map(|circumstances| {
            let Circumstances { scale, corpus, .. } = circumstances;
            let text = match &corpus.checksums[..] {
                [] => corpus.name.clone(),
                sums => format!("{} ({})", corpus.name, sums.join(", ")),
            };
            [
                ("scale", scale.name.clone()),
                ("scale", scale.note.clone()),
                ("recipe", scale.recipe.clone()),
                ("text", text),
            ]
        });
        // A text may have another folder elsewhere.
        let same_text = !self.corpus.checksums.is_empty()
            && self.corpus.checksums == other.corpus.checksums
            && self.corpus.words == other.corpus.words;
        let different = mine.into_iter().zip(foreign).find(|((what, mine), (_, foreign))| {
            mine != foreign && !(*what == "text" && same_text)
        });
        match different {
            None => Ok(()),
            Some(((what, mine), (_, foreign))) => Err(Error::mismatch(
                theirs,
                format!("its {what} is \"{foreign}\", here it is \"{mine}\""),
                remedy,
            )),
        }
    }
}

impl FinishedRun {
    /// A run without a folder that has just ended.
    pub fn new(job: &Job, run: &TrainingRun, from: &Circumstances) -> Self {
        Self {
            name: job.name.clone(),
            seed: job.recipe.seed,
            folder: None,
            measured: Measured::from(run),
            circumstances: from.clone(),
        }
    }

    pub fn sizes(&self) -> Sizes {
        [self.measured.emsize, self.measured.nhid, self.measured.bptt]
    }

    /// Checks that a stored run has the settings of this job.
    ///
    /// # Errors
    /// As [`RunConfig::check_settings`]; [`Error::BadFile`] if its config.json is damaged.
    pub fn check_settings(&self, job: &Job) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match RunDir::config_of(&folder.join(CONFIG))? {
            Some(config) => config.check_settings(folder, &job.config, &job.recipe),
            None => Ok(()),
        }
    }

    /// Reads the folder of a run; `None` if it holds no run.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] if config.json or results.json is damaged, or of a run that no experiment
    /// trained.
    pub fn read(folder: &Path) -> Result<Option<StoredRun>> {
        let Some(RunConfig { model, recipe, .. }) = RunDir::config_of(&folder.join(CONFIG))? else {
            return Ok(None);
        };
        let name = run_name([model.emsize, model.nhid, recipe.bptt], recipe.seed);
        let path = folder.join(RESULTS);
        let Some(stored) = read_results(&path)? else {
            return Ok(Some(StoredRun::Unfinished(name)));
        };
        if stored.interrupted {
            return Ok(Some(StoredRun::Unfinished(name)));
        }
        let Some(circumstances) = stored.experiment.clone() else {
            return Err(Error::bad_file(
                path,
                "is of a single training run, not of a run of a table: it does not say its scale",
                "name the folders that `reproduce` without a subcommand wrote",
            ));
        };
        let measured = measured(&model, &recipe, &stored);
        let (seed, folder) = (recipe.seed, Some(folder.into()));
        let run = Self { name, seed, folder, measured, circumstances };
        Ok(Some(StoredRun::Finished(Box::new(run))))
    }
}

fn measured(config: &LmConfig, recipe: &Recipe, stored: &Stored) -> Measured {
    // JSON has no infinity, the loss of a model that has learned nothing.
    let test_loss = stored.test_loss.unwrap_or(f64::INFINITY);
    let epochs = &stored.epochs;
    let least = |value: fn(&EpochReport) -> f64| epochs.iter().map(value).fold(f64::NAN, f64::min);
    Measured {
        emsize: config.emsize,
        nhid: config.nhid,
        bptt: recipe.bptt,
        batch: recipe.batch,
        epochs: recipe.epochs,
        tokens: stored.tokens,
        steps: stored.steps,
        parameters: stored.parameters.saturating_sub(count_ops(config).criterion_parameters),
        valid_loss: least(|epoch| epoch.valid_loss),
        test_loss,
        valid_ppl: least(|epoch| epoch.valid_ppl),
        test_ppl: test_loss.exp(),
        seconds: epochs.iter().map(|epoch| epoch.seconds).sum(),
        ..Measured::default()
    }
}

fn read_results(path: &Path) -> Result<Option<Stored>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path, "read")(error)),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::bad_line(
            path,
            error.line() as u64,
            format!("is not the result of a training run: {}", json::problem(&error)),
            "delete this file: the run is then continued from its checkpoint, or trained anew",
        )
    })
}
