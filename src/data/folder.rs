//! Data folders: the paths of the three files, and writing a corpus.

use std::path::{Path, PathBuf};

use super::reader::EOS;
use super::split::Split;
use super::vocab::Vocab;
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// The files of all splits, located before the first (large) one is read.
pub(super) fn files(folder: &Path) -> Result<[PathBuf; 3]> {
    let problem = match std::fs::metadata(folder) {
        Ok(entry) if entry.is_dir() => {
            let [train, valid, test] = Split::ALL;
            return Ok([file(folder, train)?, file(folder, valid)?, file(folder, test)?]);
        }
        Ok(_) => "is a file, not a data folder",
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no such folder",
        Err(error) => return Err(Error::io(folder, "read")(error)),
    };
    Err(Error::bad_file(folder, problem, "give a folder with train.txt, valid.txt and test.txt"))
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
            "a data folder holds train.txt, valid.txt and test.txt; add the missing one",
        )
    })
}

/// The folder of WikiText-103: `path` itself or `wikitext-103` in it.
pub(super) fn wikitext103(path: &Path) -> Result<PathBuf> {
    let inner = path.join("wikitext-103");
    if Split::ALL.iter().any(|split| file(path, *split).is_ok()) {
        return Ok(path.into());
    }
    if inner.is_dir() {
        return Ok(inner);
    }
    Err(Error::bad_file(
        path,
        "holds neither the texts of a corpus nor wikitext-103/",
        format!(
            "give a folder with train.txt, valid.txt and test.txt; or download WikiText-103 there with \
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
