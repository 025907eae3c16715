//! Caches compiled kernels in the user's cache folder.
//!
//! A file's name and header hold a hash of all that its image depends on: source, options, architecture,
//! NVRTC and driver. Files are written atomically, so that processes may write the same one concurrently,
//! and carry a checksum. If the folder cannot be used, a kernel is compiled once per process.

use std::fs;
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use super::launch::Source;
use crate::{Result, atomic_file};

/// First bytes of a file.
const MAGIC: [u8; 8] = *b"qrnnCU01";

/// Bytes before the image: magic, key, checksum.
const HEADER: usize = 24;

/// The cached image of a source under these settings, or the result of `compile`, which is then cached.
///
/// # Errors
/// Returns the errors of `compile`.
pub fn image(
    folder: Option<&Path>,
    source: &Source,
    settings: &str,
    compile: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let key = key(source, settings);
    let Some(folder) = folder else { return compile() };
    let path = path(folder, source, key);
    if let Some(image) = fs::read(&path).ok().and_then(|bytes| unpack(&bytes, key)) {
        return Ok(image);
    }
    let image = compile()?;
    // A cache that cannot be written costs time only.
    if fs::create_dir_all(folder).is_ok() {
        let _ = atomic_file::write(&path, &pack(&image, key));
    }
    Ok(image)
}

fn path(folder: &Path, source: &Source, key: u64) -> PathBuf {
    folder.join(format!("{}-{key:016x}.image", source.name.trim_end_matches(".cu")))
}

fn key(source: &Source, settings: &str) -> u64 {
    let mut all = vec![];
    let headers = source.headers.iter().flat_map(|(name, text)| [*name, *text]);
    for part in [source.name, source.text, settings].into_iter().chain(headers) {
        // With its length, so that the boundaries between parts count.
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(part.as_bytes());
    }
    XxHash3_64::oneshot(&all)
}

fn pack(image: &[u8], key: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + image.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&key.to_le_bytes());
    bytes.extend_from_slice(&XxHash3_64::oneshot(image).to_le_bytes());
    bytes.extend_from_slice(image);
    bytes
}

/// `None` if the file has another key, is truncated or corrupt.
fn unpack(bytes: &[u8], key: u64) -> Option<Vec<u8>> {
    let (header, image) = bytes.split_at_checked(HEADER)?;
    let is_valid = header[..8] == MAGIC
        && header[8..16] == key.to_le_bytes()
        && header[16..] == XxHash3_64::oneshot(image).to_le_bytes();
    is_valid.then(|| image.to_vec())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SOURCE: Source = Source { name: "a.cu", text: "text", headers: &[("h.cuh", "header")] };

    /// The image, and whether it was compiled.
    fn get(folder: &Path, source: &Source, settings: &str) -> (Vec<u8>, bool) {
        let mut compiled = false;
        let image = image(Some(folder), source, settings, || {
            compiled = true;
            Ok(format!("{} {settings}", source.text).into_bytes())
        });
        (image.unwrap(), compiled)
    }

    #[test]
    fn an_image_is_compiled_once_for_each_source_and_setting() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().join("created/when/needed");
        let others = [
            (Source { text: "other", ..SOURCE }, "sm_90 driver 13.0"),
            (Source { headers: &[("h.cuh", "other")], ..SOURCE }, "sm_90 driver 13.0"),
            (SOURCE, "sm_80 driver 13.0"),
            (SOURCE, "sm_90 driver 13.1"),
        ];
        assert!(get(folder, &SOURCE, "sm_90 driver 13.0").1);
        for (source, settings) in others {
            assert!(get(folder, &source, settings).1);
        }
        for (source, settings) in others.into_iter().chain([(SOURCE, "sm_90 driver 13.0")]) {
            let (image, compiled) = get(folder, &source, settings);
            assert!(!compiled);
            assert_eq!(image, format!("{} {settings}", source.text).as_bytes());
        }
    }

    #[test]
    fn every_corruption_is_detected_and_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let (image, _) = get(folder.path(), &SOURCE, "s");
        let path = path(folder.path(), &SOURCE, key(&SOURCE, "s"));
        let whole = fs::read(&path).unwrap();
        for i in 0..whole.len() {
            let mut corrupt = whole.clone();
            corrupt[i] ^= 1;
            for corrupt in [&corrupt[..], &whole[..i]] {
                fs::write(&path, corrupt).unwrap();
                assert_eq!(get(folder.path(), &SOURCE, "s"), (image.clone(), true), "byte {i}");
                assert_eq!(fs::read(&path).unwrap(), whole);
            }
        }
    }

    #[test]
    fn concurrent_callers_all_get_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let compiled = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let image = image(Some(folder.path()), &SOURCE, "s", || {
                        compiled.fetch_add(1, Ordering::Relaxed);
                        Ok(vec![7; 1 << 16])
                    });
                    assert_eq!(image.unwrap(), vec![7; 1 << 16]);
                });
            }
        });
        assert!(compiled.load(Ordering::Relaxed) >= 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unusable_folder_does_not_prevent_compilation() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for folder in [None, Some(file.path())] {
            assert_eq!(image(folder, &SOURCE, "s", || Ok(vec![1])).unwrap(), [1]);
        }
    }

    #[test]
    fn a_compilers_error_is_returned_and_nothing_is_cached() {
        let folder = tempfile::tempdir().unwrap();
        let fail = || Err(crate::Error::shape("x", "y", "z"));
        assert!(image(Some(folder.path()), &SOURCE, "s", fail).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
