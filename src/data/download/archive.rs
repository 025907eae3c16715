//! Unpacks the texts of an untrusted zip archive.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::checksums::FileHasher;
use super::dataset::{DataFile, Dataset};
use crate::format::megabytes;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Task, Unit};
use crate::{Error, Result};

/// Maximum entries of an archive.
const MAX_ENTRIES: usize = 1000;

/// Bytes written between two syncs. Keeps the final sync, which cannot be interrupted, short.
const SYNC_INTERVAL: u64 = 8 << 20;

/// Errors of [`unpack`].
#[derive(Debug)]
pub(super) enum UnpackError {
    /// The archive or its contents are not the published ones.
    BadArchive(String),
    /// A disk error or an interrupt.
    Other(Error),
}

impl From<Error> for UnpackError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

fn bad_archive(problem: impl Into<String>) -> UnpackError {
    UnpackError::BadArchive(problem.into())
}

/// Unpacks only the dataset's files into the existing folder `into`. Verifies each file, and syncs it to
/// disk before returning.
///
/// # Errors
/// [`UnpackError::BadArchive`] if an entry has an unsafe path, is a link, encrypted or too large, or if a
/// file is missing, duplicate, damaged or not the published one; [`UnpackError::Other`] for disk errors
/// and interrupts. Files unpacked so far stay in `into`.
pub(super) fn unpack(
    archive: &Path,
    dataset: &Dataset,
    into: &Path,
    interrupt: &Interrupt,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let file = File::open(archive).map_err(Error::io(archive, "read"))?;
    unpack_from(BufReader::new(file), archive, dataset, into, interrupt, progress)
}

/// As [`unpack`], from any reader; `archive` is its name in errors.
pub(super) fn unpack_from(
    mut file: impl Read + Seek,
    archive: &Path,
    dataset: &Dataset,
    into: &Path,
    interrupt: &Interrupt,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let entries = entry_count(&mut file).map_err(Error::io(archive, "read"))?;
    if entries > MAX_ENTRIES {
        return Err(bad_archive(format!("it lists {entries} files")));
    }
    let mut zip = ZipArchive::new(file).map_err(|error| zip_error(error, archive))?;
    let mut indices = vec![None; dataset.files.len()];
    let mut bytes = 0;
    for i in 0..zip.len() {
        let entry = zip.by_index_raw(i).map_err(|error| zip_error(error, archive))?;
        let name = entry.name().to_owned();
        check_name(&name, entry.name_raw())
            .map_err(|problem| bad_archive(format!("{name:?} {problem}")))?;
        if entry.is_symlink() {
            return Err(bad_archive(format!("{name:?} is a link")));
        }
        if entry.encrypted() {
            return Err(bad_archive(format!("{name:?} is encrypted")));
        }
        let file_name = name.rsplit('/').next();
        let Some(at) = dataset.files.iter().position(|file| Some(file.name.as_str()) == file_name)
        else {
            continue;
        };
        if indices[at].replace(i).is_some() {
            return Err(bad_archive(format!("has {} twice", dataset.files[at].name)));
        }
        check_size(&dataset.files[at], entry.size())?;
        bytes += entry.size();
    }
    progress.start(&Task {
        label: "unpacking".into(),
        unit: Unit::Bytes,
        done: 0,
        total: Some(bytes),
    });
    for (expected, index) in dataset.files.iter().zip(indices) {
        let index = index.ok_or_else(|| bad_archive(format!("has no {}", expected.name)))?;
        let mut entry = zip.by_index(index).map_err(|error| zip_error(error, archive))?;
        unpack_file(&mut entry, archive, expected, into, interrupt, progress)?;
    }
    Ok(())
}

fn unpack_file(
    entry: &mut impl Read,
    archive: &Path,
    expected: &DataFile,
    into: &Path,
    interrupt: &Interrupt,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let path = into.join(&expected.name);
    let mut file = File::create_new(&path).map_err(Error::io(&path, "create"))?;
    let mut hasher = FileHasher::of_text(expected);
    let mut buffer = vec![0; 1 << 20];
    let (mut done, mut synced) = (0, 0);
    loop {
        interrupt.check(|| format!("{} is unchanged", archive.display()))?;
        let n = match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) => return Err(zip_error(error.into(), archive)),
        };
        done += n as u64;
        // The size in the archive's directory may be wrong.
        check_size(expected, done)?;
        hasher.update(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(Error::io(&path, "write"))?;
        if done - synced >= SYNC_INTERVAL {
            file.sync_data().map_err(Error::io(&path, "write"))?;
            synced = done;
        }
        progress.advance(n as u64);
    }
    if let Some(difference) = hasher.finish().difference(expected) {
        return Err(bad_archive(format!(
            "its {} is not the published text: {difference}",
            expected.name
        )));
    }
    file.sync_all().map_err(Error::io(&path, "write"))?;
    Ok(())
}

fn check_size(expected: &DataFile, bytes: u64) -> Result<(), UnpackError> {
    if bytes <= expected.max_bytes {
        return Ok(());
    }
    Err(bad_archive(format!(
        "its {} has {} or more; the published one has at most {}",
        expected.name,
        megabytes(bytes),
        megabytes(expected.max_bytes)
    )))
}

/// Rejects names that are unsafe on any operating system.
fn check_name(name: &str, raw: &[u8]) -> Result<(), &'static str> {
    let drive = name.as_bytes().get(1) == Some(&b':');
    if name.starts_with(['/', '\\']) || drive {
        return Err("is an absolute path");
    }
    if name.split(['/', '\\']).any(|component| component == "..") {
        return Err("leads outside of the archive");
    }
    if name.contains('\\') || raw.contains(&0) {
        return Err("is not a valid path in a zip archive");
    }
    Ok(())
}

/// Distinguishes disk errors from damaged archives.
fn zip_error(error: ZipError, archive: &Path) -> UnpackError {
    match error {
        ZipError::Io(error) if error.raw_os_error().is_some() => {
            Error::io(archive, "read")(error).into()
        }
        ZipError::Io(error) => bad_archive(format!("it is damaged: {error}")),
        error => bad_archive(format!("it is not a zip archive, or is damaged: {error}")),
    }
}

/// The largest number of entries in any end-of-directory record, to be checked before the directory is
/// read into memory.
fn entry_count(file: &mut (impl Read + Seek)) -> std::io::Result<usize> {
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
