//! Loads the corpus that a command line names, and measures peak memory.

use std::path::PathBuf;

use crate::Result;
use crate::data::Corpus;

/// Loads the corpus of a folder, or the embedded synthetic language for `None`.
///
/// # Errors
/// As [`Corpus::from_dir`].
pub fn load_corpus(data: Option<PathBuf>) -> Result<Corpus> {
    data.map_or_else(|| Ok(Corpus::synthetic()), Corpus::from_dir)
}

/// Peak resident memory of this process in bytes (VmHWM); `None` if the system does not report it.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
