//! Data folders: the files of the three splits, and writing a corpus.

use std::path::{Path, PathBuf};

use super::parquet::shards;
use super::reader::EOS;
use super::split::Split;
use super::vocab::Vocab;
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// The files of one split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SplitFiles {
    /// A text.
    Text(PathBuf),
    /// Parquet tables, whose rows follow each other in this order.
    Parquet(Vec<PathBuf>),
}

impl SplitFiles {
    /// The paths of all files.
    pub(super) fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Text(path) => std::slice::from_ref(path),
            Self::Parquet(paths) => paths,
        }
    }
}

/// The files of all splits, located before the first (large) one is read. Parquet tables are used where
/// the folder holds none of the texts: texts are what `data fetch` restores from them.
pub(super) fn files(folder: &Path) -> Result<[SplitFiles; 3]> {
    let [train, valid, test] = Split::ALL;
    let problem = match std::fs::metadata(folder) {
        Ok(entry) if entry.is_dir() => {
            if let Some(tables) = shards::folder(folder).filter(|_| !has_text(folder)) {
                let tables = |split| self::tables(&tables, split);
                return Ok([tables(train)?, tables(valid)?, tables(test)?]);
            }
            let file = |split| file(folder, split).map(SplitFiles::Text);
            return Ok([file(train)?, file(valid)?, file(test)?]);
        }
        Ok(_) => "is a file, not a data folder",
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no such folder",
        Err(error) => return Err(Error::io(folder, "read")(error)),
    };
    Err(Error::bad_file(folder, problem, "give a folder with train.txt, valid.txt and test.txt"))
}

/// Whether the folder holds the text of a split.
fn has_text(folder: &Path) -> bool {
    Split::ALL.iter().any(|split| file(folder, *split).is_ok())
}

/// The Parquet tables of a split.
fn tables(folder: &Path, split: Split) -> Result<SplitFiles> {
    let files = shards::files(folder, split)?;
    if files.is_empty() {
        return Err(Error::bad_file(
            folder,
            format!("has Parquet files, but none of the {split} split"),
            "a folder of Parquet files holds train-*, validation-* and test-*.parquet; add the missing ones",
        ));
    }
    Ok(SplitFiles::Parquet(files))
}

/// The file of a split: for example `train.txt`, otherwise `wiki.train.tokens`.
fn file(folder: &Path, split: Split) -> Result<PathBuf> {
    let names = [format!("{split}.txt"), format!("wiki.{split}.tokens")];
    // A path that cannot be checked is reported by the reader, with the error of the system.
    let mut paths = names.iter().map(|name| folder.join(name));
    let found = paths.find(|path| path.try_exists().unwrap_or(true));
    found.ok_or_else(|| {
        Error::bad_file(
            folder,
            format!("has no {split} split: neither {} nor {}", names[0], names[1]),
            "a data folder holds train.txt, valid.txt and test.txt, or train-*, validation-* and \
             test-*.parquet; add the missing one",
        )
    })
}

/// The folder of WikiText-103: `path` itself or `wikitext-103` in it.
pub(super) fn wikitext103(path: &Path) -> Result<PathBuf> {
    let inner = path.join("wikitext-103");
    if has_text(path) {
        return Ok(path.into());
    }
    // The texts that `data fetch` restores lie there beside the tables.
    if !has_text(&inner) && shards::folder(path).is_some() {
        return Ok(path.into());
    }
    if inner.is_dir() {
        return Ok(inner);
    }
    Err(Error::bad_file(
        path,
        "holds neither the texts of a corpus nor wikitext-103/",
        format!(
            "give a folder with train.txt, valid.txt and test.txt, or with train-*, validation-* and \
             test-*.parquet; or download WikiText-103 there with \
             `reproduce data fetch wikitext-103 --to {path}`, in a notebook \
             `Corpus::fetch_wikitext103({path:?})?`; or unpack wikitext-103-v1.zip there",
            path = path.display(),
        ),
    ))
}

/// Writes a split as text in the layout of WikiText: a space at both ends of every line.
pub(super) fn write_split(folder: &Path, split: Split, vocab: &Vocab, ids: &[u32]) -> Result<()> {
    let path = folder.join(format!("{split}.txt"));
    let eos = vocab.id(EOS);
    let mut text = String::from(" ");
    for (i, id) in ids.iter().enumerate() {
        if Some(*id) == eos {
            text.push_str(if i + 1 < ids.len() { "\n " } else { "\n" });
        } else {
            text.push_str(vocab.word(*id));
            text.push(' ');
        }
    }
    atomic_file::write(&path, text.as_bytes()).map_err(Error::io(&path, "write"))
}
