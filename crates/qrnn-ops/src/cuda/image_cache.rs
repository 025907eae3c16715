//! Compiled kernels, kept in the user's cache folder.
//!
//! A file's name and head tell all that its image depends on: text, options, architecture, NVRTC and
//! driver. It appears whole (written beside and renamed), so two processes may make the same one at
//! once; its sum tells whether it still is what was written. Where the folder cannot be used, a
//! kernel is compiled once a process.

use std::fs;
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use super::launch::Source;
use crate::{Result, atomic_file};

/// The first bytes of a file.
const MAGIC: [u8; 8] = *b"qrnnCU01";

/// Bytes before the image: magic, key, sum.
const HEAD: usize = 24;

/// The image of a source under these settings: the kept one, or else what `compile` makes, which is
/// then kept.
///
/// # Errors
/// Those of `compile`.
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
    // A disk that is full or cannot be written to costs time, not the work.
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
        // With its length, so that no two divisions of the same bytes are alike.
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(part.as_bytes());
    }
    XxHash3_64::oneshot(&all)
}

fn pack(image: &[u8], key: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + image.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&key.to_le_bytes());
    bytes.extend_from_slice(&XxHash3_64::oneshot(image).to_le_bytes());
    bytes.extend_from_slice(image);
    bytes
}

/// `None` where the file is another's, cut short or damaged.
fn unpack(bytes: &[u8], key: u64) -> Option<Vec<u8>> {
    let (head, image) = bytes.split_at_checked(HEAD)?;
    let whole = head[..8] == MAGIC
        && head[8..16] == key.to_le_bytes()
        && head[16..] == XxHash3_64::oneshot(image).to_le_bytes();
    whole.then(|| image.to_vec())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SOURCE: Source = Source { name: "a.cu", text: "text", headers: &[("h.cuh", "header")] };

    fn made(folder: &Path, source: &Source, settings: &str) -> (Vec<u8>, bool) {
        let mut compiled = false;
        let image = image(Some(folder), source, settings, || {
            compiled = true;
            Ok(format!("{} {settings}", source.text).into_bytes())
        });
        (image.unwrap(), compiled)
    }

    #[test]
    fn an_image_is_made_once_for_each_text_and_setting() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().join("made/when/needed");
        let others = [
            (Source { text: "other", ..SOURCE }, "sm_90 driver 13.0"),
            (Source { headers: &[("h.cuh", "other")], ..SOURCE }, "sm_90 driver 13.0"),
            (SOURCE, "sm_80 driver 13.0"),
            (SOURCE, "sm_90 driver 13.1"),
        ];
        assert!(made(folder, &SOURCE, "sm_90 driver 13.0").1);
        for (source, settings) in others {
            assert!(made(folder, &source, settings).1);
        }
        for (source, settings) in others.into_iter().chain([(SOURCE, "sm_90 driver 13.0")]) {
            let (image, compiled) = made(folder, &source, settings);
            assert!(!compiled);
            assert_eq!(image, format!("{} {settings}", source.text).as_bytes());
        }
    }

    #[test]
    fn every_damage_is_noticed_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let (image, _) = made(folder.path(), &SOURCE, "s");
        let path = path(folder.path(), &SOURCE, key(&SOURCE, "s"));
        let whole = fs::read(&path).unwrap();
        for i in 0..whole.len() {
            let mut spoiled = whole.clone();
            spoiled[i] ^= 1;
            for spoiled in [&spoiled[..], &whole[..i]] {
                fs::write(&path, spoiled).unwrap();
                assert_eq!(made(folder.path(), &SOURCE, "s"), (image.clone(), true), "byte {i}");
                assert_eq!(fs::read(&path).unwrap(), whole);
            }
        }
    }

    #[test]
    fn many_at_once_all_get_the_image() {
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
    fn where_nothing_can_be_kept_it_is_compiled_all_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for folder in [None, Some(file.path())] {
            assert_eq!(image(folder, &SOURCE, "s", || Ok(vec![1])).unwrap(), [1]);
        }
    }

    #[test]
    fn an_error_of_the_compiler_is_passed_on_and_nothing_kept() {
        let folder = tempfile::tempdir().unwrap();
        let fail = || Err(crate::Error::shape("x", "y", "z"));
        assert!(image(Some(folder.path()), &SOURCE, "s", fail).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
