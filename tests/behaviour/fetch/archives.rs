//! Contents of archives.

use std::io::Cursor;
use std::path::Path;

use md5::Md5;
use zip::write::SimpleFileOptions;

use super::server::{Response, Server};
use super::{
    Messages, SPLITS, assert_refused, assert_texts, checksum, fetch, file_names, text, zip,
};

#[test]
fn an_archive_with_another_checksum_is_accepted_if_its_texts_are_right() {
    // A repacked archive with more files is accepted, with a message.
    let texts = SPLITS.map(text);
    let repacked = zip(&[
        ("LICENSE", b"free"),
        ("other/wiki.test.tokens", &texts[2]),
        ("other/wiki.train.tokens", &texts[0]),
        ("other/wiki.valid.tokens", &texts[1]),
    ]);
    let body = repacked.clone();
    let server = Server::start(move |_, _| Response::whole(&body));
    let folder = tempfile::tempdir().unwrap();
    let mut messages = Messages::default();
    let fetched = fetch(folder.path(), &[server.url("/x")]).run(&mut messages).unwrap();
    assert_eq!(file_names(folder.path()), [".small.lock", "small"]);
    assert_eq!(file_names(&fetched.path), SPLITS.map(|s| format!("wiki.{s}.tokens")).sorted());
    assert_texts(&fetched.path);
    assert_eq!(fetched.md5, checksum::<Md5>(&repacked));
    assert!(messages.0.contains("but its texts are"), "{}", messages.0);

    // An archive with one different word is refused.
    let mut other = texts[1].clone();
    other[5] ^= 1;
    let changed = zip(&[
        ("small/wiki.train.tokens", &texts[0]),
        ("small/wiki.valid.tokens", &other),
        ("small/wiki.test.tokens", &texts[2]),
    ]);
    let (message, _) = assert_refused(move |_, _| Response::whole(&changed));
    for expected in [
        "wiki.valid.tokens is not the published text",
        "expected md5",
        &checksum::<sha2::Sha256>(&other),
    ] {
        assert!(message.contains(expected), "no {expected}: {message}");
    }
}

trait Sorted {
    fn sorted(self) -> Vec<String>;
}

impl<const N: usize> Sorted for [String; N] {
    fn sorted(self) -> Vec<String> {
        let mut names = self.to_vec();
        names.sort();
        names
    }
}

#[test]
fn archives_that_lead_outside_are_refused() {
    let texts = SPLITS.map(text);
    let files = |extra: &'static str| {
        let texts = texts.clone();
        zip(&[
            (extra, b"owned"),
            ("small/wiki.train.tokens", &texts[0]),
            ("small/wiki.valid.tokens", &texts[1]),
            ("small/wiki.test.tokens", &texts[2]),
        ])
    };
    // The name is changed afterwards, because the writer may correct an unsafe name.
    for (bad, expected) in [
        ("/tmp/owned", "is an absolute path"),
        ("C:/temp/ow", "is an absolute path"),
        ("\\\\host\\a\\b", "is an absolute path"),
        ("../../owned", "leads outside"),
        ("small/../..", "leads outside"),
        ("a/..\\..\\owned", "leads outside"),
        ("small\\own\\ed", "is not a valid path"),
    ] {
        let placeholder: &'static str = "x".repeat(bad.len()).leak();
        let archive = replace(files(placeholder), placeholder.as_bytes(), bad.as_bytes());
        let (message, left) = assert_refused(move |_, _| Response::whole(&archive));
        assert!(message.contains(expected), "{bad}: {message}");
        assert_eq!(left, [".small.lock", "small-v1.zip.refused"]);
    }
    assert!(!Path::new("/tmp/owned").exists());

    let link = {
        let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
        zip.add_symlink("small", "/tmp", SimpleFileOptions::default()).unwrap();
        zip.finish().unwrap().into_inner()
    };
    let (message, _) = assert_refused(move |_, _| Response::whole(&link));
    assert!(message.contains("is a link"), "{message}");

    let twice = zip(&[("a/wiki.test.tokens", b"a"), ("b/wiki.test.tokens", b"b")]);
    let (message, _) = assert_refused(move |_, _| Response::whole(&twice));
    assert!(message.contains("twice"), "{message}");

    let (message, _) = assert_refused(|_, _| Response::whole(&zip(&[("a", b"b")])));
    assert!(message.contains("has no wiki.train.tokens"), "{message}");

    let names: Vec<String> = (0..1200).map(|i| format!("{i}")).collect();
    let many = zip(&names.iter().map(|name| (name.as_str(), &b""[..])).collect::<Vec<_>>());
    let (message, _) = assert_refused(move |_, _| Response::whole(&many));
    assert!(message.contains("1200 files"), "{message}");
}

/// Replaces all occurrences of bytes by others of the same length.
fn replace(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from) {
        bytes[at + found..at + found + to.len()].copy_from_slice(to);
        at += found + to.len();
    }
    bytes
}

#[test]
fn a_zip_bomb_is_not_unpacked() {
    // 20 MB of spaces in 20 kB, and the same archive with a false size in both headers.
    let spaces = vec![b' '; 20 << 20];
    let bomb = zip(&[("small/wiki.train.tokens", &spaces)]);
    let size = (spaces.len() as u32).to_le_bytes();
    let false_size = replace(bomb.clone(), &size, &1000u32.to_le_bytes());
    assert_ne!(bomb, false_size);
    let (message, left) = assert_refused(move |_, _| Response::whole(&bomb));
    assert!(message.contains("wiki.train.tokens has 21.0 MB or more"), "{message}");
    assert_eq!(left, [".small.lock", "small-v1.zip.refused"]);
    let (message, _) = assert_refused(move |_, _| Response::whole(&false_size));
    assert!(message.contains("expected md5"), "{message}");
}
