//! What is in an archive.

use std::io::Cursor;
use std::path::Path;

use md5::Md5;
use zip::write::SimpleFileOptions;

use super::server::{Answer, Server};
use super::{Notes, SPLITS, fetch, holds_texts, is_refused, names, sum, text, zip};

#[test]
fn what_counts_are_the_texts() {
    // Packed by somebody else, and more in it: taken, and said.
    let texts = SPLITS.map(text);
    let repacked = zip(&[
        ("LICENSE", b"free"),
        ("other/wiki.test.tokens", &texts[2]),
        ("other/wiki.train.tokens", &texts[0]),
        ("other/wiki.valid.tokens", &texts[1]),
    ]);
    let body = repacked.clone();
    let server = Server::start(move |_, _| Answer::whole(&body));
    let folder = tempfile::tempdir().unwrap();
    let mut notes = Notes::default();
    let fetched = fetch(folder.path(), &[server.url("/x")]).run(&mut notes).unwrap();
    assert_eq!(names(folder.path()), [".small.lock", "small"]);
    assert_eq!(names(&fetched.path), SPLITS.map(|s| format!("wiki.{s}.tokens")).sorted());
    holds_texts(&fetched.path);
    assert_eq!(fetched.md5, sum::<Md5>(&repacked));
    assert!(notes.0.contains("but its texts are"), "{}", notes.0);

    // One word differs: refused.
    let mut other = texts[1].clone();
    other[5] ^= 1;
    let changed = zip(&[
        ("small/wiki.train.tokens", &texts[0]),
        ("small/wiki.valid.tokens", &other),
        ("small/wiki.test.tokens", &texts[2]),
    ]);
    let (message, _) = is_refused(move |_, _| Answer::whole(&changed));
    for said in ["wiki.valid.tokens is another text", "expected md5", &sum::<sha2::Sha256>(&other)]
    {
        assert!(message.contains(said), "no {said}: {message}");
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
    // The writer may mend a bad name, so it is put in afterwards.
    for (bad, said) in [
        ("/tmp/owned", "is an absolute path"),
        ("C:/temp/ow", "is an absolute path"),
        ("\\\\host\\a\\b", "is an absolute path"),
        ("../../owned", "leads outside"),
        ("small/../..", "leads outside"),
        ("a/..\\..\\owned", "leads outside"),
        ("small\\own\\ed", "is no path"),
    ] {
        let harmless: &'static str = "x".repeat(bad.len()).leak();
        let archive = replace(files(harmless), harmless.as_bytes(), bad.as_bytes());
        let (message, left) = is_refused(move |_, _| Answer::whole(&archive));
        assert!(message.contains(said), "{bad}: {message}");
        assert_eq!(left, [".small.lock", "small-v1.zip.refused"]);
    }
    assert!(!Path::new("/tmp/owned").exists());

    let link = {
        let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
        zip.add_symlink("small", "/tmp", SimpleFileOptions::default()).unwrap();
        zip.finish().unwrap().into_inner()
    };
    let (message, _) = is_refused(move |_, _| Answer::whole(&link));
    assert!(message.contains("is a link"), "{message}");

    let twice = zip(&[("a/wiki.test.tokens", b"a"), ("b/wiki.test.tokens", b"b")]);
    let (message, _) = is_refused(move |_, _| Answer::whole(&twice));
    assert!(message.contains("twice"), "{message}");

    let (message, _) = is_refused(|_, _| Answer::whole(&zip(&[("a", b"b")])));
    assert!(message.contains("has no wiki.train.tokens"), "{message}");

    let names: Vec<String> = (0..1200).map(|i| format!("{i}")).collect();
    let many = zip(&names.iter().map(|name| (name.as_str(), &b""[..])).collect::<Vec<_>>());
    let (message, _) = is_refused(move |_, _| Answer::whole(&many));
    assert!(message.contains("1200 files"), "{message}");
}

/// Replaces bytes by as many others, wherever they are.
fn replace(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from) {
        bytes[at + found..at + found + to.len()].copy_from_slice(to);
        at += found + to.len();
    }
    bytes
}

#[test]
fn a_bomb_is_not_unpacked() {
    // 20 MB of nothing in 20 kB; and one that lies about it, in both of its headers.
    let nothing = vec![b' '; 20 << 20];
    let bomb = zip(&[("small/wiki.train.tokens", &nothing)]);
    let size = (nothing.len() as u32).to_le_bytes();
    let liar = replace(bomb.clone(), &size, &1000u32.to_le_bytes());
    assert_ne!(bomb, liar);
    let (message, left) = is_refused(move |_, _| Answer::whole(&bomb));
    assert!(message.contains("wiki.train.tokens has 21.0 MB or more"), "{message}");
    assert_eq!(left, [".small.lock", "small-v1.zip.refused"]);
    let (message, _) = is_refused(move |_, _| Answer::whole(&liar));
    assert!(message.contains("expected md5"), "{message}");
}
