//! What the kernel stores in files, as JSON.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(|error| Error::file(path, error.to_string()))?;
    fs::write(path, text).map_err(Error::io(path, "write"))
}

/// The default if the file is missing or has other contents.
pub fn read<T: DeserializeOwned + Default>(path: &Path) -> T {
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
