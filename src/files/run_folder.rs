//! Names of the files in a run's folder.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{Error, Result};

const MEND: &str =
    "mend that field, or move the file away: the sizes are then read off the weights";

/// The weights of the best epoch.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// The settings.
pub(crate) const CONFIG: &str = "config.json";

/// The key in a checkpoint's metadata that tells where the run stands.
pub(crate) const CHECKPOINT: &str = "qrnn-checkpoint";

/// The checkpoints of a run's folder and their steps, the newest last.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn checkpoints(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found: Vec<(u64, PathBuf)> = vec![];
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let path = entry.map_err(Error::io(folder, "read"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let step = name
            .strip_prefix("checkpoint-")
            .and_then(|rest| rest.strip_suffix(".safetensors"))
            .and_then(|step| step.parse().ok());
        if let Some(step) = step {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a config.json, or a part of it; `None` where there is none.
///
/// # Errors
/// [`Error::Io`], or [`Error::BadFile`] with the line where it is not what a run writes.
pub(crate) fn read_config<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path, "read")(error)),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        let problem = format!("not the configuration of a run ({error})");
        Error::bad_line(path, error.line() as u64, problem, MEND)
    })
}

/// A setting of a config.json that no run can have. The command that reads the file need not have the flag
/// that the error names.
pub(crate) fn invalid_setting(path: &Path, error: Error) -> Error {
    match error {
        Error::Usage { what, problem, .. } => {
            let setting = what.trim_start_matches("--");
            Error::bad_file(path, format!("holds {setting}: {problem}"), MEND)
        }
        other => other,
    }
}
