//! The token cache: the token ids of a data folder in a file, so a text is tokenized only once.
//!
//! It is a safetensors file with `train`, `valid` and `test` (U32), and the vocabulary as `words` (U8,
//! concatenated) and `ends` (U32, the end of each word). Its metadata hold the version of the format,
//! the size, inode, times and XXH3 checksum of each file of text, and the checksum of each tensor.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::checksum;
use super::folder::SplitFiles;
use super::ids::Ids;
use super::vocab::Vocab;

/// The file name in the data folder.
const FILE: &str = "tokens.qrnn";

/// Version of the file format. A file of another version is replaced.
const VERSION: u32 = 3;

/// A text modified less than this before its ids were cached may have been modified again within the
/// same tick of the file system's clock.
const CLOCK_TICK: Duration = Duration::from_secs(2);

/// The state of a text or Parquet file when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    file: FileState,
    #[serde(rename = "sum")]
    checksum: u64,
}

/// The metadata of a file. Programs can set the modification time (`touch -d`, `rsync -t`, tar), so the
/// inode and the change time, which they cannot set, are compared too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct FileState {
    bytes: u64,
    inode: u64,
    /// mtime, in nanoseconds since 1970.
    modified: i64,
    /// ctime, in nanoseconds since 1970.
    changed: i64,
}

impl FileState {
    fn of(path: &Path) -> std::io::Result<Self> {
        let entry = fs::metadata(path)?;
        let nanoseconds = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000) + nanos;
        Ok(Self {
            bytes: entry.len(),
            inode: entry.ino(),
            modified: nanoseconds(entry.mtime(), entry.mtime_nsec()),
            changed: nanoseconds(entry.ctime(), entry.ctime_nsec()),
        })
    }
}

/// The metadata of the cache file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    version: u32,
    /// Time of writing, in nanoseconds since 1970.
    written: i64,
    /// The files of each split.
    sources: [Vec<Source>; 3],
    /// XXH3 of each tensor, in the order of [`NAMES`].
    #[serde(rename = "sums")]
    checksums: [u64; 5],
}

/// The key of the header in the metadata.
const METADATA: &str = "qrnn-corpus";

const NAMES: [&str; 5] = ["train", "valid", "test", "words", "ends"];

/// The files of each split, and the state of each file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sources([Vec<(PathBuf, FileState)>; 3]);

impl Sources {
    /// The current state; `None` if a file's metadata cannot be read.
    pub(super) fn now(files: &[SplitFiles; 3]) -> Option<Self> {
        let [train, valid, test] = files.each_ref().map(|files| Self::states(files.paths().iter()));
        Some(Self([train?, valid?, test?]))
    }

    /// The current state of the same files.
    fn again(&self) -> Option<Self> {
        let paths = |split: &Vec<(PathBuf, _)>| Self::states(split.iter().map(|(path, _)| path));
        let [train, valid, test] = self.0.each_ref().map(paths);
        Some(Self([train?, valid?, test?]))
    }

    fn states<'a>(
        mut paths: impl Iterator<Item = &'a PathBuf>,
    ) -> Option<Vec<(PathBuf, FileState)>> {
        paths.try_fold(vec![], |mut states, path| {
            states.push((path.clone(), FileState::of(path).ok()?));
            Some(states)
        })
    }

    /// Whether the texts are the ones that a cache was written for.
    fn unchanged(&self, header: &Header) -> bool {
        let same_number = |(now, then): (&Vec<_>, &Vec<_>)| now.len() == then.len();
        if !self.0.iter().zip(&header.sources).all(same_number) {
            return false;
        }
        self.0.iter().flatten().zip(header.sources.iter().flatten()).all(
            |((path, file), source)| {
                let newest = file.modified.max(file.changed);
                let settled = *file == source.file
                    && newest.saturating_add(CLOCK_TICK.as_nanos() as i64) < header.written;
                file.bytes == source.file.bytes
                    && (settled
                        || checksum::file(path).is_ok_and(|checksum| checksum == source.checksum))
            },
        )
    }
}

/// The possible paths of a folder's token cache: in the folder unless its permissions are read-only
/// (respected even for root), then in the user's cache folder.
pub(super) fn paths(folder: &Path) -> Vec<PathBuf> {
    let absolute = folder.canonicalize().unwrap_or_else(|_| folder.into());
    let name = format!("{:016x}-{FILE}", checksum::bytes(absolute.as_os_str().as_encoded_bytes()));
    let user = dirs::cache_dir().map(|cache| cache.join("qrnn").join(name));
    let writable = fs::metadata(folder).is_ok_and(|entry| !entry.permissions().readonly());
    [writable.then(|| folder.join(FILE)), user].into_iter().flatten().collect()
}

/// Opens the first cache that is intact and was written for these texts; `None` if there is none.
pub(super) fn open(paths: &[PathBuf], sources: &Sources) -> Option<(PathBuf, Vocab, [Ids; 3])> {
    paths.iter().find_map(|path| {
        let (vocab, tokens) = open_one(path, sources)?;
        Some((path.clone(), vocab, tokens))
    })
}

fn open_one(path: &Path, sources: &Sources) -> Option<(Vocab, [Ids; 3])> {
    let file = File::open(path).ok()?;
    // SAFETY: this library replaces the file by renaming and never writes it in place, so the mapped
    // bytes do not change. They are verified below before use.
    let file = Arc::new(unsafe { Mmap::map(&file) }.ok()?);
    let (_, metadata) = SafeTensors::read_metadata(&file).ok()?;
    let header: Header = serde_json::from_str(metadata.metadata().as_ref()?.get(METADATA)?).ok()?;
    if header.version != VERSION || !sources.unchanged(&header) {
        return None;
    }
    let tensors = SafeTensors::deserialize(&file).ok()?;
    let bytes = |name: &str, dtype| {
        Some(tensors.tensor(name).ok().filter(|tensor| tensor.dtype() == dtype)?.data())
    };
    let ids = |name: &str| Ids::mapped(&file, bytes(name, Dtype::U32)?);
    let [train, valid, test, words, ends] = NAMES;
    let tokens = [ids(train)?, ids(valid)?, ids(test)?];
    let (words, ends) = (bytes(words, Dtype::U8)?, ids(ends)?);
    let (checksums, highest) = checksums(tokens.each_ref().map(|ids| &**ids), words, &ends);
    let vocab = Vocab::from_parts(str::from_utf8(words).ok()?.to_owned(), ends.to_vec())?;
    let in_vocab = highest.is_none_or(|highest| (highest as usize) < vocab.len());
    (checksums == header.checksums && in_vocab).then_some((vocab, tokens))
}

/// Writes a token cache; returns its path. `sources` is the state of the texts before they were read.
///
/// # Errors
/// The reason why no cache was written, as a sentence.
pub(super) fn store(
    paths: &[PathBuf],
    sources: &Sources,
    vocab: &Vocab,
    tokens: [&[u32]; 3],
) -> Result<PathBuf, String> {
    let (words, ends) = vocab.parts();
    let mut states = [vec![], vec![], vec![]];
    for (states, files) in states.iter_mut().zip(&sources.0) {
        for (path, file) in files {
            let checksum =
                checksum::file(path).map_err(|error| format!("{}: {error}", path.display()))?;
            states.push(Source { file: *file, checksum });
        }
    }
    let unchanged = sources.again().as_ref() == Some(sources);
    let written = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let header = Header {
        version: VERSION,
        written: i64::try_from(written.as_nanos()).unwrap_or(0),
        sources: Some(states).filter(|_| unchanged).ok_or("the text changed while it was read")?,
        checksums: checksums(tokens, words.as_bytes(), ends).0,
    };
    let mut reason = String::new();
    for path in paths {
        match write(path, &header, tokens, words, ends) {
            Ok(()) => {
                // The cache gets the permissions of the text.
                let text = sources.0.iter().flatten().next().map(|(text, _)| text);
                let text = text.and_then(|text| Some(fs::metadata(text).ok()?.permissions()));
                let _ = text.map(|permissions| fs::set_permissions(path, permissions));
                return Ok(path.clone());
            }
            Err(problem) => reason = format!("{}: {problem}", path.display()),
        }
    }
    Err(reason)
}

fn write(
    path: &Path,
    header: &Header,
    tokens: [&[u32]; 3],
    words: &str,
    ends: &[u32],
) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let ids = |ids| (Dtype::U32, bytemuck::cast_slice(ids));
    let [train, valid, test] = tokens.map(ids);
    let mut tensors = vec![];
    for (name, (dtype, bytes)) in
        NAMES.into_iter().zip([train, valid, test, (Dtype::U8, words.as_bytes()), ids(ends)])
    {
        let length = bytes.len() * 8 / dtype.bitsize();
        tensors.push((name, TensorView::new(dtype, vec![length], bytes)?));
    }
    let metadata = HashMap::from([(METADATA.to_owned(), serde_json::to_string(header)?)]);
    // Writes a temporary file and renames it, without a sync: the checksums detect a file damaged by a
    // power failure.
    Ok(safetensors::serialize_to_file(tensors, Some(metadata), path)?)
}

/// The checksum of each tensor, and the highest token id.
fn checksums(tokens: [&[u32]; 3], words: &[u8], ends: &[u32]) -> ([u64; 5], Option<u32>) {
    let [train, valid, test] = tokens.map(checksum::ids);
    let checksums = [train.0, valid.0, test.0, checksum::bytes(words), checksum::ids(ends).0];
    (checksums, train.1.max(valid.1).max(test.1))
}

#[cfg(test)]
mod tests;
