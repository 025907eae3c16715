//! Downloads from servers that misbehave.

mod archives;
mod folder;
mod hub;
mod network;
mod program;
mod server;

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use qrnn::Error;
use qrnn::data::download::{Archive, DataFile, Dataset, Fetch, Fetched, RetryPolicy};
use qrnn::progress::{Progress, Silent};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use zip::write::SimpleFileOptions;

use server::{Request, Response, Server};

const SPLITS: [&str; 3] = ["train", "valid", "test"];

/// Random words, which compress little, so an archive has some size.
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

fn checksum<D: Digest>(bytes: &[u8]) -> String {
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
            sha256: Some(checksum::<sha2::Sha256>(&text)),
            sha1: Some(checksum::<sha1::Sha1>(&text)),
            lines: Some(2000),
            tokens: Some(6000),
            parquet: vec![],
        }
    };
    Dataset {
        name: "small".into(),
        archive: Archive {
            file: "small-v1.zip".into(),
            md5: checksum::<Md5>(&archive),
            sha256: Some(checksum::<sha2::Sha256>(&archive)),
            max_bytes: 2 * archive.len() as u64,
        },
        files: SPLITS.map(file).into(),
        hugging_face: None,
        mirrors: mirrors.into(),
    }
}

fn retry_policy() -> RetryPolicy {
    RetryPolicy {
        timeout: Duration::from_millis(300),
        max_retries: 3,
        first_delay: Duration::from_millis(10),
    }
}

fn fetch(to: &Path, mirrors: &[String]) -> Fetch {
    Fetch::new(dataset(mirrors), to).retry_policy(retry_policy())
}

/// Collects the messages to the user.
#[derive(Default)]
struct Messages(String);

impl Progress for Messages {
    fn message(&mut self, line: &str) {
        self.0 += line;
        self.0 += "\n";
    }
}

fn file_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// Asserts that the folder holds the published texts and the lock, and nothing else.
fn assert_complete(to: &Path, fetched: &Fetched) {
    assert_eq!(file_names(to), [".small.lock", "small"]);
    assert_texts(&fetched.path);
    assert_eq!(fetched.path, to.join("small"));
    let bytes: u64 = SPLITS.iter().map(|split| text(split).len() as u64).sum();
    assert_eq!(fetched.bytes, bytes);
    assert_eq!(fetched.md5, checksum::<Md5>(&good_zip()));
}

fn assert_texts(folder: &Path) {
    for split in SPLITS {
        let path = folder.join(format!("wiki.{split}.tokens"));
        assert!(fs::read(&path).unwrap() == text(split), "{split}");
    }
}

/// Fetches from a server with these responses, and asserts that it succeeds.
fn assert_succeeds(
    respond: impl Fn(usize, &Request) -> Response + Send + Sync + 'static,
) -> (Fetched, Vec<Request>, String) {
    let server = Server::start(respond);
    let folder = tempfile::tempdir().unwrap();
    let mut messages = Messages::default();
    let fetched = fetch(folder.path(), &[server.url("/small-v1.zip")]).run(&mut messages);
    let fetched = fetched.unwrap_or_else(|error| panic!("{error}\n{}", messages.0));
    assert_complete(folder.path(), &fetched);
    (fetched, server.requests(), messages.0)
}

/// Fetches from a server with these responses, and asserts that it fails. Returns the message and the
/// files left in the folder.
fn assert_refused(
    respond: impl Fn(usize, &Request) -> Response + Send + Sync + 'static,
) -> (String, Vec<String>) {
    let server = Server::start(respond);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    let error = fetch(&to, &[server.url("/small-v1.zip")]).run(&mut Silent).unwrap_err();
    assert!(matches!(error, Error::Fetch { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("put it into"), "{message}");
    assert!(!to.join("small").exists());
    assert_eq!(file_names(folder.path()), ["to"]);
    (message, file_names(&to))
}

fn wait_for(ready: impl Fn() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(30), "never ready");
        std::thread::sleep(Duration::from_millis(5));
    }
}
