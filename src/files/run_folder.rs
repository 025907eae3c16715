//! File names in a run folder, and its configuration.

use std::path::{Path, PathBuf};

use qrnn_ops::atomic_file;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result, json};

const REMEDY: &str = "fix it there, or move the file away; the settings are then read from the weights or \
                      the checkpoint";

/// The weights of the best epoch.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// The configuration.
pub(crate) const CONFIG: &str = "config.json";

/// The results of a run, or of an experiment.
pub(crate) const RESULTS: &str = "results.json";

/// The results of a compression.
pub(crate) const COMPRESSION: &str = "compression.json";

/// The words of a compressed model, one a line, in the order of their ids.
pub(crate) const WORDS: &str = "vocabulary.txt";

/// The metadata key of a checkpoint's training state.
pub(crate) const CHECKPOINT: &str = "qrnn-checkpoint";

/// The checkpoints of a run folder with their steps, in ascending order.
pub(crate) fn checkpoints(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut checkpoints: Vec<(u64, PathBuf)> = vec![];
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let path = entry.map_err(Error::io(folder, "read"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let step = name
            .strip_prefix("checkpoint-")
            .and_then(|rest| rest.strip_suffix(".safetensors"))
            .and_then(|step| step.parse().ok());
        if let Some(step) = step {
            checkpoints.push((step, path));
        }
    }
    checkpoints.sort();
    Ok(checkpoints)
}

/// Reads a config.json, or some of its fields; `None` if there is none.
///
/// # Errors
/// [`Error::Io`]; [`Error::BadFile`] with the line if it is not a configuration of a run.
pub(crate) fn read_config<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path, "read")(error)),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        let problem = format!("is not the configuration of a run: {}", json::problem(&error));
        Error::bad_line(path, error.line() as u64, problem, REMEDY)
    })
}

/// Converts the error of an invalid setting to one that names the field of config.json: the current
/// command may not have the flag that the error names.
pub(crate) fn invalid_setting(path: &Path, error: Error) -> Error {
    match error {
        Error::Config { field, value, problem, .. } => {
            let name = field.split_once('.').map_or(field.as_str(), |(_, name)| name);
            Error::bad_file(path, format!("has {name} {value}: {problem}"), REMEDY)
        }
        other => other,
    }
}

/// Writes a value as JSON, atomically.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(|error| Error::io(path, "write")(error.into()))?;
    bytes.push(b'\n');
    atomic_file::write(path, &bytes).map_err(Error::io(path, "write"))
}
