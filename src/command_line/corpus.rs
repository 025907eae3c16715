//! A corpus as a command line names it, and what reading it costs.

use std::path::PathBuf;

use crate::Result;
use crate::data::Corpus;

/// A folder's corpus, or the embedded language.
///
/// # Errors
/// As [`Corpus::from_dir`].
pub fn load_corpus(data: Option<PathBuf>) -> Result<Corpus> {
    data.map_or_else(|| Ok(Corpus::synthetic()), Corpus::from_dir)
}

/// The peak memory of this process, in bytes, where the system reports it.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
