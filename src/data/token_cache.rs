//! Ids kept in a file, so that a text is read once.
//!
//! The file is a safetensors file: `train`, `valid` and `test` (U32), and the vocabulary as
//! `words` (U8, one behind the other) and `ends` (U32, where each ends). Its header names the
//! version of the format, the size, inode, times and XXH3 sum of each text, and a sum of everything.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use super::checksum;
use super::ids::Ids;
use super::vocab::Vocab;

/// The name of the file, in the folder of the text where that can be written to.
const FILE: &str = "tokens.qrnn";

/// Counts the changes of the format; a file of another version is made anew.
const VERSION: u32 = 2;

/// A text that changed less than this before its ids were kept might have changed again within
/// the same tick of the file system's clock.
const TICK: Duration = Duration::from_secs(2);

/// A text file as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    file: FileState,
    sum: u64,
}

/// What the system says of a file. Its time of modification can be set by anybody (`touch -d`,
/// `rsync -t`, tar), so its inode and the time of its last change of any kind, which nobody can set,
/// are looked at as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct FileState {
    bytes: u64,
    inode: u64,
    /// Since 1970, in nanoseconds.
    modified: i64,
    /// Since 1970, in nanoseconds.
    changed: i64,
}

impl FileState {
    fn of(path: &Path) -> std::io::Result<Self> {
        let entry = fs::metadata(path)?;
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000) + rest;
        Ok(Self {
            bytes: entry.len(),
            inode: entry.ino(),
            modified: nanoseconds(entry.mtime(), entry.mtime_nsec()),
            changed: nanoseconds(entry.ctime(), entry.ctime_nsec()),
        })
    }
}

/// The metadata of the file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    version: u32,
    /// Since 1970, in nanoseconds.
    written: i64,
    sources: [Source; 3],
    /// XXH3 of each tensor, in the order of [`NAMES`].
    sums: [u64; 5],
}

const NAMES: [&str; 5] = ["train", "valid", "test", "words", "ends"];

/// What a corpus is made of.
pub(super) struct Kept {
    pub vocab: Vocab,
    pub tokens: [Ids; 3],
    /// The checksum of each split's ids.
    pub sums: [u64; 3],
}

/// The texts of a folder as they are at a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen([(PathBuf, FileState); 3]);

impl Seen {
    /// `None` where the system does not tell.
    pub(super) fn now(files: &[PathBuf; 3]) -> Option<Self> {
        let look = |path: &PathBuf| Some((path.clone(), FileState::of(path).ok()?));
        let [train, valid, test] = files;
        Some(Self([look(train)?, look(valid)?, look(test)?]))
    }

    /// Whether these are the texts that were read for a file.
    fn unchanged(&self, header: &Header) -> bool {
        self.0.iter().zip(&header.sources).all(|((path, file), source)| {
            let newest = file.modified.max(file.changed);
            let settled = *file == source.file
                && newest.saturating_add(TICK.as_nanos() as i64) < header.written;
            file.bytes == source.file.bytes
                && (settled || checksum::file(path).is_ok_and(|sum| sum == source.sum))
        })
    }
}

/// Where the ids of a folder are kept: in it, or in the user's cache where it cannot be written to
/// or is marked so, which binds root too.
pub(super) fn places(folder: &Path) -> Vec<PathBuf> {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.into());
    let name = format!("{:016x}-{FILE}", checksum::bytes(whole.as_os_str().as_encoded_bytes()));
    let user = qrnn_ops::user_cache::folder().map(|user| user.join(name));
    let open = fs::metadata(folder).is_ok_and(|entry| !entry.permissions().readonly());
    [open.then(|| folder.join(FILE)), user].into_iter().flatten().collect()
}

/// The ids of the texts, from the first file that has them; `None` where there is none, or none
/// that is whole and of these very texts.
pub(super) fn open(places: &[PathBuf], seen: &Seen) -> Option<(PathBuf, Kept)> {
    places.iter().find_map(|path| Some((path.clone(), open_one(path, seen)?)))
}

fn open_one(path: &Path, seen: &Seen) -> Option<Kept> {
    let file = File::open(path).ok()?;
    // SAFETY: a file of this name is replaced by renaming, never written to in place, so its
    // bytes stay; all of them are checked below before they are used.
    let file = Arc::new(unsafe { Mmap::map(&file) }.ok()?);
    let (_, metadata) = SafeTensors::read_metadata(&file).ok()?;
    let header: Header =
        serde_json::from_str(metadata.metadata().as_ref()?.get("qrnn-corpus")?).ok()?;
    if header.version != VERSION || !seen.unchanged(&header) {
        return None;
    }
    let tensors = SafeTensors::deserialize(&file).ok()?;
    let start = file.as_ptr() as usize;
    let part = |name: &str, dtype| {
        let tensor = tensors.tensor(name).ok().filter(|tensor| tensor.dtype() == dtype)?;
        let at = tensor.data().as_ptr() as usize - start;
        Some(at..at + tensor.data().len())
    };
    let [train, valid, test, words, ends] = NAMES;
    let tokens = [
        Ids::mapped(&file, part(train, Dtype::U32)?)?,
        Ids::mapped(&file, part(valid, Dtype::U32)?)?,
        Ids::mapped(&file, part(test, Dtype::U32)?)?,
    ];
    let words = &file[part(words, Dtype::U8)?];
    let ends: &[u32] = bytemuck::try_cast_slice(&file[part(ends, Dtype::U32)?]).ok()?;
    let (sums, highest) = sums(&tokens.each_ref().map(|ids| &**ids), words, ends);
    let vocab = Vocab::from_parts(str::from_utf8(words).ok()?.to_owned(), ends.to_vec())?;
    let known = highest.is_none_or(|highest| (highest as usize) < vocab.len());
    let [train, valid, test, ..] = sums;
    (sums == header.sums && known).then_some(Kept { vocab, tokens, sums: [train, valid, test] })
}

/// Keeps the ids of texts that were seen before they were read; gives the file.
///
/// # Errors
/// A sentence: why they could not be kept.
pub(super) fn keep(
    places: &[PathBuf],
    seen: &Seen,
    vocab: &Vocab,
    tokens: [&[u32]; 3],
) -> Result<PathBuf, String> {
    let (words, ends) = vocab.parts();
    let mut sources = vec![];
    for (path, file) in &seen.0 {
        let sum = checksum::file(path).map_err(|error| format!("{}: {error}", path.display()))?;
        sources.push(Source { file: *file, sum });
    }
    let unchanged = Seen::now(&seen.0.each_ref().map(|(path, ..)| path.clone()));
    let sources = sources.try_into().ok().filter(|_| unchanged.as_ref() == Some(seen));
    let header = Header {
        version: VERSION,
        written: nanoseconds(SystemTime::now()).unwrap_or(0),
        sources: sources.ok_or("the text changed while it was read")?,
        sums: sums(&tokens, words.as_bytes(), ends).0,
    };
    let mut why = String::new();
    for path in places {
        match write(path, &header, tokens, words, ends) {
            Ok(()) => {
                // Whoever may read the text may read its ids.
                let text = fs::metadata(&seen.0[0].0).map(|entry| entry.permissions());
                let _ = text.and_then(|permissions| fs::set_permissions(path, permissions));
                return Ok(path.clone());
            }
            Err(problem) => why = format!("{}: {problem}", path.display()),
        }
    }
    Err(why)
}

fn write(
    path: &Path,
    header: &Header,
    tokens: [&[u32]; 3],
    words: &str,
    ends: &[u32],
) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    }
    let header = serde_json::to_string(header).map_err(|error| error.to_string())?;
    let [train, valid, test] = tokens.map(Part::ids);
    let parts = [train, valid, test, Part::text(words), Part::ids(ends)];
    let metadata = HashMap::from([("qrnn-corpus".to_owned(), header)]);
    // This writes beside and renames. It does not sync: a file that a power cut spoils is noticed
    // by its sums and made anew.
    safetensors::serialize_to_file(NAMES.into_iter().zip(parts), Some(metadata), path)
        .map_err(|error| error.to_string())
}

/// The sum of each tensor, and the highest id.
fn sums(tokens: &[&[u32]; 3], words: &[u8], ends: &[u32]) -> ([u64; 5], Option<u32>) {
    let [train, valid, test] = tokens.map(checksum::ids);
    let sums = [train.0, valid.0, test.0, checksum::bytes(words), checksum::ids(ends).0];
    (sums, train.1.max(valid.1).max(test.1))
}

fn nanoseconds(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// A row of numbers as safetensors wants it.
struct Part<'a> {
    dtype: Dtype,
    shape: [usize; 1],
    bytes: &'a [u8],
}

impl<'a> Part<'a> {
    fn ids(ids: &'a [u32]) -> Self {
        Self { dtype: Dtype::U32, shape: [ids.len()], bytes: bytemuck::cast_slice(ids) }
    }

    fn text(text: &'a str) -> Self {
        Self { dtype: Dtype::U8, shape: [text.len()], bytes: text.as_bytes() }
    }
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
