//! Unpacking of randomly and maliciously modified archives.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::failure::Failure;
use super::verify::text_difference;
use super::{Archive, DataFile, Dataset, Fetch};
use crate::interrupt::Interrupt;
use crate::progress::Silent;

const TEXTS: [(&str, &str); 2] =
    [("wiki.train.tokens", " the cat sat \n on \n"), ("wiki.test.tokens", " a dog \n")];

fn dataset() -> Dataset {
    let file = |(name, text): (&str, &str)| DataFile {
        name: name.into(),
        other_name: None,
        max_bytes: 100,
        bytes: Some(text.len() as u64),
        sha256: None,
        sha1: None,
        lines: None,
        tokens: None,
        parquet: vec![],
    };
    let archive =
        Archive { file: "small.zip".into(), md5: String::new(), sha256: None, max_bytes: 1 << 20 };
    let (files, mirrors) = (TEXTS.map(file).into(), vec![]);
    Dataset { name: "small".into(), archive, files, hugging_face: None, mirrors }
}

/// Deflated and stored entries, a folder, and an unrelated entry.
fn archive() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
    let deflated = SimpleFileOptions::default();
    let stored = deflated.compression_method(CompressionMethod::Stored);
    zip.add_directory("small", stored).unwrap();
    for ((name, text), options) in TEXTS.into_iter().zip([deflated, stored]) {
        zip.start_file(format!("small/{name}"), options).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.start_file("small/README", deflated).unwrap();
    zip.write_all(b"unrelated").unwrap();
    zip.finish().unwrap().into_inner()
}

/// A change to the bytes; offsets wrap around.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    /// Overwrites four bytes, like a size, an offset or a signature.
    Word(usize, u32),
    Cut(usize),
    /// Inserts a copy of bytes elsewhere.
    Copy(usize, usize, usize),
    /// Overwrites the start of a file name.
    Name(usize, &'static [u8]),
}

fn change() -> impl Strategy<Value = Change> {
    let words = prop_oneof![
        any::<u32>(),
        Just(0),
        Just(u32::MAX),
        Just(0x0403_4b50),
        Just(0x0201_4b50),
        Just(0x0605_4b50),
        Just(0x0606_4b50),
        Just(0x0706_4b50)
    ];
    let names = prop_oneof![
        Just(&b"/"[..]),
        Just(&b"../"[..]),
        Just(&b"..\\"[..]),
        Just(&b"C:"[..]),
        Just(&b"\0"[..]),
        Just(&b"/../../x"[..])
    ];
    prop_oneof![
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (any::<usize>(), words).prop_map(|(at, word)| Change::Word(at, word)),
        1 => any::<usize>().prop_map(Change::Cut),
        2 => any::<(usize, usize, usize)>().prop_map(|(from, n, to)| Change::Copy(from, n, to)),
        3 => (any::<usize>(), names).prop_map(|(at, name)| Change::Name(at, name)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: Change) {
    let size = bytes.len().max(1);
    let overwrite = |bytes: &mut Vec<u8>, at: usize, new: &[u8]| {
        for (target, byte) in bytes.iter_mut().skip(at).zip(new) {
            *target = *byte;
        }
    };
    match change {
        Change::Set(at, byte) => overwrite(bytes, at % size, &[byte]),
        Change::Word(at, word) => overwrite(bytes, at % size, &word.to_le_bytes()),
        Change::Cut(at) => bytes.truncate(at % size),
        Change::Copy(from, n, to) => {
            let copy: Vec<u8> = bytes.iter().skip(from % size).take(n % 100).copied().collect();
            let to = (to % size).min(bytes.len());
            bytes.splice(to..to, copy);
        }
        Change::Name(index, name) => {
            let offsets: Vec<usize> =
                (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"small/")).collect();
            if !offsets.is_empty() {
                overwrite(bytes, offsets[index % offsets.len()], name);
            }
        }
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files_found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_found.extend(files(&path));
        } else {
            files_found.push(path);
        }
    }
    files_found
}

/// Whether an archive is unpacked. Panics if a file appears outside `into` or is not a published text.
/// Deletes the files afterwards.
fn unpacks(bytes: &[u8], folder: &Path) -> bool {
    let into = folder.join("sub/folder");
    fs::create_dir_all(&into).unwrap();
    let fetch = Fetch::new(dataset(), folder);
    let result = fetch.unpack_texts(Cursor::new(bytes), &into, &mut Silent);
    let files_found = files(folder);
    for path in &files_found {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        assert_eq!(path.parent(), Some(into.as_path()));
        assert!(TEXTS.iter().any(|(text, _)| *text == name), "{name}");
        assert!(fs::metadata(path).unwrap().len() <= 100);
    }
    let unpacked = match result {
        Ok(()) => {
            assert_eq!(files_found.len(), TEXTS.len());
            for expected in &dataset().files {
                let path = into.join(&expected.name);
                let difference = text_difference(&path, expected, &Interrupt::default()).unwrap();
                assert_eq!(difference, None);
            }
            true
        }
        Err(Failure::Permanent(_)) => false,
        Err(failure) => panic!("not an error of the archive: {failure:?}"),
    };
    files_found.iter().for_each(|path| fs::remove_file(path).unwrap());
    unpacked
}

#[test]
fn modified_archives_write_nothing_outside_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert!(unpacks(&archive(), folder.path()), "the unmodified archive is valid");
    let changes = prop::collection::vec(change(), 1..6);
    proptest!(ProptestConfig::with_cases(4000), |(changes in changes)| {
        let mut bytes = archive();
        changes.into_iter().for_each(|change| apply(&mut bytes, change));
        unpacks(&bytes, folder.path());
    });
}

#[test]
fn random_bytes_are_not_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let fetch = Fetch::new(dataset(), folder.path());
    let result = fetch.unpack_texts(Cursor::new(b"<html>"), folder.path(), &mut Silent);
    assert!(
        matches!(&result, Err(Failure::Permanent(problem)) if problem.ends_with("a complete zip archive")),
        "{result:?}"
    );
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    proptest!(ProptestConfig::with_cases(4000), |(bytes in bytes)| {
        prop_assert!(!unpacks(&bytes, folder.path()));
    });
}

#[test]
fn a_text_is_compared_in_every_published_property() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "a b\r\n\n c\u{3000}d").unwrap();
    let difference =
        |expected: &DataFile| text_difference(file.path(), expected, &Interrupt::default());
    let [mut expected, _] = dataset().files.try_into().unwrap();
    (expected.bytes, expected.lines, expected.tokens) = (Some(12), Some(3), Some(7));
    assert_eq!(difference(&expected).unwrap(), None);
    let sum = |digit: &str, n| Some(digit.repeat(n));
    for (changed, problem) in [
        (DataFile { bytes: Some(11), ..expected.clone() }, "it has 12 bytes, not 11"),
        (DataFile { sha1: sum("0", 40), ..expected.clone() }, "expected sha1 0000"),
        (DataFile { sha256: sum("1", 64), ..expected.clone() }, "expected sha256 1111"),
        (DataFile { lines: Some(2), ..expected.clone() }, "expected 2 lines, got 3"),
        (DataFile { tokens: Some(8), ..expected.clone() }, "expected 8 tokens"),
    ] {
        let difference = difference(&changed).unwrap().unwrap();
        assert!(difference.starts_with(problem), "{difference}");
    }
}
