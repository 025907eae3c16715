//! The texts out of a zip archive that nobody vouches for.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::checksums::Taker;
use super::dataset::{DataFile, Dataset};
use crate::format::megabytes;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Task, Unit};
use crate::{Error, Result};

/// An archive of a few texts has no more entries than this.
const MOST_ENTRIES: usize = 1000;

/// Bytes written between two syncs: the last one, which nothing can interrupt, stays short.
const SYNC: u64 = 8 << 20;

/// Why the texts did not come out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The archive, or what is in it, is not what was published.
    Bad(String),
    /// The disk, or the user.
    Other(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

fn bad(problem: impl Into<String>) -> Refusal {
    Refusal::Bad(problem.into())
}

/// Unpacks the dataset's files, and nothing else, into the folder `into`, which must exist. Each is
/// checked against all that is known of it, and on the disk when this returns.
///
/// # Errors
/// [`Refusal::Bad`] where an entry leads outside of the archive, is a link, encrypted or too large,
/// a file is missing, there twice, damaged or not as published; [`Refusal::Other`] where the disk
/// refuses or the user stops it. Files unpacked so far are left in `into`.
pub(super) fn unpack(
    archive: &Path,
    dataset: &Dataset,
    into: &Path,
    interrupt: &Interrupt,
    progress: &mut dyn Progress,
) -> Result<(), Refusal> {
    let file = File::open(archive).map_err(Error::io(archive, "read"))?;
    unpack_from(BufReader::new(file), archive, dataset, into, interrupt, progress)
}

/// As [`unpack`], of bytes that lie anywhere; `archive` is their name.
pub(super) fn unpack_from(
    mut file: impl Read + Seek,
    archive: &Path,
    dataset: &Dataset,
    into: &Path,
    interrupt: &Interrupt,
    progress: &mut dyn Progress,
) -> Result<(), Refusal> {
    let entries = entries(&mut file).map_err(Error::io(archive, "read"))?;
    if entries > MOST_ENTRIES {
        return Err(bad(format!("it claims to have {entries} files")));
    }
    let mut zip = ZipArchive::new(file).map_err(|error| spoilt(error, archive))?;
    let mut places = vec![None; dataset.files.len()];
    let mut bytes = 0;
    for i in 0..zip.len() {
        let entry = zip.by_index_raw(i).map_err(|error| spoilt(error, archive))?;
        let name = entry.name().to_owned();
        safe(&name, entry.name_raw()).map_err(|problem| bad(format!("{name:?} {problem}")))?;
        if entry.is_symlink() {
            return Err(bad(format!("{name:?} is a link")));
        }
        if entry.encrypted() {
            return Err(bad(format!("{name:?} is encrypted")));
        }
        let last = name.rsplit('/').next();
        let Some(at) = dataset.files.iter().position(|file| Some(file.name.as_str()) == last)
        else {
            continue;
        };
        if places[at].replace(i).is_some() {
            return Err(bad(format!("has {} twice", dataset.files[at].name)));
        }
        room(&dataset.files[at], entry.size())?;
        bytes += entry.size();
    }
    progress.start(&Task {
        label: "unpacking".into(),
        unit: Unit::Bytes,
        done: 0,
        total: Some(bytes),
    });
    for (known, place) in dataset.files.iter().zip(places) {
        let place = place.ok_or_else(|| bad(format!("has no {}", known.name)))?;
        let mut entry = zip.by_index(place).map_err(|error| spoilt(error, archive))?;
        one(&mut entry, archive, known, into, interrupt, progress)?;
    }
    Ok(())
}

/// Unpacks one text.
fn one(
    entry: &mut impl Read,
    archive: &Path,
    known: &DataFile,
    into: &Path,
    interrupt: &Interrupt,
    progress: &mut dyn Progress,
) -> Result<(), Refusal> {
    let path = into.join(&known.name);
    let mut file = File::create_new(&path).map_err(Error::io(&path, "create"))?;
    let mut taker = Taker::of_text(known);
    let mut buffer = vec![0; 1 << 20];
    let (mut done, mut synced) = (0, 0);
    loop {
        interrupt.check(|| format!("{} stays as it is", archive.display()))?;
        let n = match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) => return Err(spoilt(error.into(), archive)),
        };
        done += n as u64;
        // Whatever the archive said of the size.
        room(known, done)?;
        taker.take(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(Error::io(&path, "write"))?;
        if done - synced >= SYNC {
            file.sync_data().map_err(Error::io(&path, "write"))?;
            synced = done;
        }
        progress.advance(n as u64);
    }
    if let Some(difference) = taker.facts().differ(known) {
        return Err(bad(format!("its {} is another text: {difference}", known.name)));
    }
    file.sync_all().map_err(Error::io(&path, "write"))?;
    Ok(())
}

fn room(known: &DataFile, bytes: u64) -> Result<(), Refusal> {
    if bytes <= known.max_bytes {
        return Ok(());
    }
    Err(bad(format!(
        "its {} has {} or more, while the published one has at most {}",
        known.name,
        megabytes(bytes),
        megabytes(known.max_bytes)
    )))
}

/// What makes a name dangerous, on any system.
fn safe(name: &str, raw: &[u8]) -> Result<(), &'static str> {
    let drive = name.as_bytes().get(1) == Some(&b':');
    if name.starts_with(['/', '\\']) || drive {
        return Err("is an absolute path");
    }
    if name.split(['/', '\\']).any(|step| step == "..") {
        return Err("leads outside of the archive");
    }
    if name.contains('\\') || raw.contains(&0) {
        return Err("is no path that a zip archive may have");
    }
    Ok(())
}

/// Of an error whether the archive or the disk is to blame.
fn spoilt(error: ZipError, archive: &Path) -> Refusal {
    match error {
        ZipError::Io(error) if error.raw_os_error().is_some() => {
            Error::io(archive, "read")(error).into()
        }
        ZipError::Io(error) => bad(format!("it is damaged: {error}")),
        error => bad(format!("it is no zip archive, or a damaged one: {error}")),
    }
}

/// The largest number of entries that any end-of-directory record names, looked at before the
/// directory is read into memory.
fn entries(file: &mut (impl Read + Seek)) -> std::io::Result<usize> {
    // The record has 22 bytes and a comment of up to 65,535.
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(22 + 65_535)))?;
    let mut tail = vec![];
    file.read_to_end(&mut tail)?;
    file.rewind()?;
    let records = tail.windows(22).filter(|record| record.starts_with(b"PK\x05\x06"));
    let counts = records.map(|record| usize::from(u16::from_le_bytes([record[10], record[11]])));
    Ok(counts.max().unwrap_or(0))
}
