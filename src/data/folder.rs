//! A data folder: where its three files lie, and how a corpus is written as one.

use std::path::{Path, PathBuf};

use super::reader::EOS;
use super::split::Split;
use super::vocab::Vocab;
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// The folder that the published archive unpacks to.
pub(super) const WIKITEXT: &str = "wikitext-103";
const ARCHIVE: &str = "wikitext-103-v1.zip";

/// The files of all splits: all three are looked for before the first, long, one is read.
pub(super) fn files(folder: &Path) -> Result<[PathBuf; 3]> {
    check(folder)?;
    let [train, valid, test] = Split::ALL;
    Ok([file(folder, train)?, file(folder, valid)?, file(folder, test)?])
}

/// The file of a split: `train.txt`, or else `wiki.train.tokens`, and so on.
fn file(folder: &Path, split: Split) -> Result<PathBuf> {
    let names = [format!("{split}.txt"), format!("wiki.{split}.tokens")];
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        Error::bad_file(
            folder,
            format!("has no {split} split: neither {} nor {}", names[0], names[1]),
            "a data folder holds train.txt, valid.txt and test.txt; add the missing one",
        )
    })
}

/// Whether any split lies in this folder.
fn holds_text(folder: &Path) -> bool {
    Split::ALL.iter().any(|split| file(folder, *split).is_ok())
}

/// Refuses a path that is no folder.
fn check(folder: &Path) -> Result<()> {
    match std::fs::metadata(folder) {
        Ok(entry) if entry.is_dir() => Ok(()),
        Ok(_) => Err(Error::bad_file(
            folder,
            "is a file, not a data folder",
            "name the folder that holds train.txt, valid.txt and test.txt",
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::bad_file(
            folder,
            "there is no such folder",
            "name a folder that holds train.txt, valid.txt and test.txt",
        )),
        Err(error) => Err(Error::io(folder, "read")(error)),
    }
}

/// The folder of WikiText-103: `path` itself or its `wikitext-103`.
pub(super) fn wikitext103(path: &Path) -> Result<PathBuf> {
    let inner = path.join(WIKITEXT);
    if holds_text(path) {
        return Ok(path.into());
    }
    if inner.is_dir() {
        return Ok(inner);
    }
    Err(Error::bad_file(
        &inner,
        "WikiText-103 is not here",
        format!(
            "run `reproduce data fetch wikitext-103 --to {path}`, or in a notebook \
             `Corpus::fetch_wikitext103({path:?})?`; or unpack {ARCHIVE} there, so that {} holds wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens",
            inner.display(),
            path = path.display(),
        ),
    ))
}

/// Writes one split as text, in the layout of WikiText: a space on both sides of every line.
pub(super) fn write_split(folder: &Path, split: Split, vocab: &Vocab, ids: &[u32]) -> Result<()> {
    let path = folder.join(format!("{split}.txt"));
    let eos = vocab.id(EOS);
    let mut text = String::from(" ");
    for (place, id) in ids.iter().enumerate() {
        if Some(*id) == eos {
            text.push_str(if place + 1 < ids.len() { "\n " } else { "\n" });
        } else {
            text.push_str(vocab.word(*id));
            text.push(' ');
        }
    }
    atomic_file::write(&path, text.as_bytes()).map_err(Error::io(&path, "write"))
}
