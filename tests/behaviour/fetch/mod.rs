//! Corpora from servers that misbehave.

mod archives;
mod folder;
mod network;
mod program;
mod server;

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use qrnn::Error;
use qrnn::data::download::{Archive, DataFile, Dataset, Fetch, Fetched, Patience};
use qrnn::progress::{Progress, Silent};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zip::write::SimpleFileOptions;

use server::{Answer, Request, Server};

const SPLITS: [&str; 3] = ["train", "valid", "test"];

/// Words that hardly shrink, so that an archive has some size.
fn text(split: &str) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(u64::from(split.as_bytes()[0]));
    let mut word = || format!("{:x}", random.random::<u64>());
    (0..2000).map(|_| format!(" {} {} \n", word(), word())).collect::<String>().into_bytes()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn good_zip() -> Vec<u8> {
    let texts = SPLITS.map(|split| (format!("small/wiki.{split}.tokens"), text(split)));
    let files: Vec<_> = texts.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    zip(&files)
}

fn sum<D: Digest>(bytes: &[u8]) -> String {
    D::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn dataset(mirrors: &[String]) -> Dataset {
    let archive = good_zip();
    let file = |split| {
        let text = text(split);
        DataFile {
            name: format!("wiki.{split}.tokens"),
            other_name: Some(format!("{split}.txt")),
            max_bytes: 100_000,
            bytes: Some(text.len() as u64),
            sha256: Some(sum::<sha2::Sha256>(&text)),
            sha1: Some(sum::<sha1::Sha1>(&text)),
            lines: Some(2000),
            tokens: Some(6000),
        }
    };
    Dataset {
        name: "small".into(),
        archive: Archive {
            file: "small-v1.zip".into(),
            md5: sum::<Md5>(&archive),
            sha256: Some(sum::<sha2::Sha256>(&archive)),
            max_bytes: 2 * archive.len() as u64,
        },
        files: SPLITS.map(file).into(),
        mirrors: mirrors.into(),
    }
}

fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        silence: Duration::from_millis(300),
        retries: 3,
        pause: Duration::from_millis(10),
        redirects: 4,
    }
}

fn fetch(to: &Path, mirrors: &[String]) -> Fetch {
    Fetch::new(dataset(mirrors), to).patience(patience())
}

/// Keeps the lines that a user would see.
#[derive(Default)]
struct Notes(String);

impl Progress for Notes {
    fn message(&mut self, line: &str) {
        self.0 += line;
        self.0 += "\n";
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// The texts lie in the folder as published, and nothing else but the lock.
fn is_whole(to: &Path, fetched: &Fetched) {
    assert_eq!(names(to), [".small.lock", "small"]);
    holds_texts(&fetched.path);
    assert_eq!(fetched.path, to.join("small"));
    let bytes: u64 = SPLITS.iter().map(|split| text(split).len() as u64).sum();
    assert_eq!(fetched.bytes, bytes);
    assert_eq!(fetched.md5, sum::<Md5>(&good_zip()));
}

fn holds_texts(folder: &Path) {
    for split in SPLITS {
        let path = folder.join(format!("wiki.{split}.tokens"));
        assert!(fs::read(&path).unwrap() == text(split), "{split}");
    }
}

/// Fetches from servers that answer so, one a mirror, and sees that all comes to a good end.
fn comes_through(
    answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
) -> (Fetched, Vec<Request>, String) {
    let server = Server::start(answer);
    let folder = tempfile::tempdir().unwrap();
    let mut notes = Notes::default();
    let fetched = fetch(folder.path(), &[server.url("/small-v1.zip")]).run(&mut notes);
    let fetched = fetched.unwrap_or_else(|error| panic!("{error}\n{}", notes.0));
    is_whole(folder.path(), &fetched);
    (fetched, server.requests(), notes.0)
}

/// Fetches from one server that answers so; the message of the refusal, and what lies there then.
fn is_refused(
    answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
) -> (String, Vec<String>) {
    let server = Server::start(answer);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    let error = fetch(&to, &[server.url("/small-v1.zip")]).run(&mut Silent).unwrap_err();
    assert!(matches!(error, Error::Fetch { .. }), "{error:?}");
    assert_eq!(error.exit_status(), 1);
    let message = error.to_string();
    assert!(message.contains("put it into"), "{message}");
    assert!(!to.join("small").exists());
    assert_eq!(names(folder.path()), ["to"]);
    (message, names(&to))
}

fn wait_for(ready: impl Fn() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(30), "never ready");
        std::thread::sleep(Duration::from_millis(5));
    }
}
