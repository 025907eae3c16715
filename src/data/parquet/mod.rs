//! Corpora in Parquet files, as Hugging Face distributes WikiText-103.
//!
//! - [`shards`]: the files of a split by their names
//! - [`file`](mod@file): one file, opened and checked, read through [`read_at`]; [`panics`] of the decoder
//! - [`rows`]: its rows as the lines of the original text
//! - [`segments`]: rows shared out to threads
//!
//! **Rows and lines.** A row is a line with its line feed. An empty row stands for the blank line of the
//! original, a space and a line feed: whoever made the tables replaced lines of white space by empty
//! strings. A row without a line feed gets one, because some copies have the line ends removed. Nothing
//! else changes, so that the restored text has the published checksum. A row with a line feed inside gives
//! several lines.

mod file;
mod panics;
mod read_at;
mod rows;
mod segments;
pub(super) mod shards;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use super::reader;
use super::threads::{in_threads, threads};
use super::vocab::Vocab;
use crate::{Error, Result};
use file::ParquetFile;

/// Tokenizes the text of a split, in the order of its files, like [`reader::text`].
///
/// # Errors
/// If a file cannot be read, is damaged, has no column `text` of strings, or has nulls or invalid UTF-8
/// there; if the split has no words or too few lines.
pub(super) fn tokenize(paths: &[PathBuf], vocab: &mut Vocab, min_lines: u64) -> Result<Vec<u32>> {
    let files = open(paths)?;
    let parts = segments::split(&files, threads() as u64);
    let segments = in_threads(parts, |part| segments::tokenize(part));
    let segments = segments.into_iter().collect::<Result<_>>()?;
    reader::join(&paths[0], segments, vocab, min_lines)
}

/// Restores the text of a split. `write` gets it in blocks of whole lines.
///
/// # Errors
/// As [`tokenize`], except that a text may be empty; errors of `write`.
pub(super) fn restore<E: From<Error>>(
    paths: &[PathBuf],
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    for file in open(paths)? {
        rows::for_each_block(&file, file.row_groups(), &mut |block, _| write(block.as_bytes()))?;
    }
    Ok(())
}

/// Checks the beginning, the end and the columns of a file without reading its rows.
///
/// # Errors
/// As [`tokenize`].
pub(super) fn check(path: &Path) -> Result<()> {
    ParquetFile::open(path).map(drop)
}

fn open(paths: &[PathBuf]) -> Result<Vec<ParquetFile>> {
    paths.iter().map(|path| ParquetFile::open(path)).collect()
}
