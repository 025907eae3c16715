//! Corpora from servers that misbehave.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::program::{Ran, command, reproduce};
use crate::server::{Answer, Request, Server};
use md5::{Digest, Md5};
use qrnn::Error;
use qrnn::fetch::{Archive, DataFile, Dataset, Fetch, Fetched, Patience, Quiet, Watch};
use qrnn::interrupt::Interrupt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};
use zip::write::SimpleFileOptions;

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

impl Watch for Notes {
    fn note(&mut self, line: &str) {
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
    let error = fetch(&to, &[server.url("/small-v1.zip")]).run(&mut Quiet).unwrap_err();
    assert!(matches!(error, Error::Fetch { .. }), "{error:?}");
    assert_eq!(error.exit_status(), 1);
    let message = error.to_string();
    assert!(message.contains("put it into"), "{message}");
    assert!(!to.join("small").exists());
    assert_eq!(names(folder.path()), ["to"]);
    (message, names(&to))
}

#[test]
fn texts_arrive_whole_and_only_once() {
    let archive = good_zip();
    let server = Server::start(move |_, _| Answer::whole(&archive));
    let folder = tempfile::tempdir().unwrap();
    let fetch = fetch(folder.path(), &[server.url("/small-v1.zip")]);
    let fetched = fetch.run(&mut Quiet).unwrap();
    is_whole(folder.path(), &fetched);
    assert_eq!(fetched.downloaded, good_zip().len() as u64);
    assert_eq!(fetched.from, Some(server.url("/small-v1.zip")));
    assert_eq!(server.requests().len(), 1);

    let again = fetch.run(&mut Quiet).unwrap();
    is_whole(folder.path(), &again);
    assert_eq!((again.downloaded, again.from), (0, None));
    // The folder itself may be named, too.
    let inside = Fetch::new(dataset(&[]), folder.path().join("small")).run(&mut Quiet).unwrap();
    assert_eq!(inside.path, folder.path().join("small"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_host_that_wants_a_browser_gets_one() {
    let archive = good_zip();
    comes_through(move |_, request| match request.header("user-agent") {
        Some(agent) if agent.starts_with("Mozilla/5.0 (") => Answer::whole(&archive),
        _ => Answer::status(403),
    });
}

#[test]
fn a_dropped_connection_is_taken_up_where_it_broke() {
    let archive = good_zip();
    let size = archive.len();
    let (fetched, requests, _) = comes_through(move |n, request| {
        let drop_after = (n < 6).then_some(size / 8);
        Answer::ranges(request, &archive, "\"one\"").with(|answer| answer.drop_after = drop_after)
    });
    let from: Vec<_> = requests.iter().map(|request| request.from().unwrap_or(0)).collect();
    assert_eq!(from, [0, 1, 2, 3, 4, 5, 6].map(|n| n * (size / 8)));
    assert!(requests[1..].iter().all(|request| request.header("if-range") == Some("\"one\"")));
    assert_eq!(fetched.downloaded, size as u64);
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let archive = good_zip();
    let size = archive.len() as u64;
    let (fetched, _, notes) = comes_through(move |n, _| {
        Answer::whole(&archive).with(|answer| answer.drop_after = (n < 2).then_some(20_000))
    });
    assert_eq!(fetched.downloaded, size + 40_000);
    assert!(notes.contains("from its beginning"), "{notes}");
}

#[test]
fn a_file_that_changes_meanwhile_is_fetched_anew() {
    let (archive, other) = (good_zip(), vec![7; good_zip().len()]);
    // The first answer is of an older file; with If-Range the server sends the new one whole.
    comes_through(move |n, request| match n {
        0 => Answer::ranges(request, &other, "\"old\"")
            .with(|answer| answer.drop_after = Some(30_000)),
        _ => Answer::ranges(request, &archive, "\"new\""),
    });
    // A server that ignores If-Range tells by its tag or by the size,
    for same_size in [true, false] {
        let (archive, mut other) = (good_zip(), vec![7; good_zip().len()]);
        other.truncate(if same_size { other.len() } else { 60_000 });
        let tag = move |n| match (same_size, n) {
            (false, _) => "W/\"weak\"",
            (true, 0) => "\"old\"",
            (true, _) => "\"new\"",
        };
        comes_through(move |n, request| {
            let mut request = request.clone();
            request.forget("if-range");
            let body = if n == 0 { &other } else { &archive };
            Answer::ranges(&request, body, tag(n))
                .with(|answer| answer.drop_after = (n == 0).then_some(30_000))
        });
    }
    // and if by nothing, then the sum does.
    let (archive, other) = (good_zip(), vec![7; good_zip().len()]);
    let (_, _, notes) = comes_through(move |n, request| {
        let body = if n == 0 { &other } else { &archive };
        Answer::ranges(request, body, "W/\"weak\"")
            .with(|answer| answer.drop_after = (n == 0).then_some(30_000))
            .with(|answer| answer.headers.retain(|(name, _)| *name != "ETag"))
    });
    assert!(notes.contains("once more, from the beginning"), "{notes}");
}

#[test]
fn other_bytes_than_asked_for_are_not_taken() {
    let archive = good_zip();
    comes_through(move |n, request| match n {
        0 => Answer::ranges(request, &archive, "\"a\"").with(|a| a.drop_after = Some(30_000)),
        1 => Answer::ranges(request, &archive, "\"a\"").with(|answer| {
            answer.headers = vec![("Content-Range", "bytes 5-9/10".into())];
        }),
        _ => Answer::whole(&archive),
    });
}

#[test]
fn a_wrong_length_does_not_matter_where_the_sum_is_right() {
    for ranges in [true, false] {
        let archive = good_zip();
        comes_through(move |_, request| {
            let whole = Answer::whole(&archive)
                .with(|answer| answer.length = Some(Some(archive.len() + 1000)));
            match request.from() {
                Some(_) if ranges => Answer::ranges(request, &archive, "\"a\""),
                _ => whole,
            }
        });
    }
    let archive = good_zip();
    comes_through(move |_, _| Answer::whole(&archive).with(|answer| answer.length = Some(None)));
}

#[test]
fn silence_is_not_waited_out() {
    let archive = good_zip();
    let started = Instant::now();
    comes_through(move |n, request| {
        Answer::ranges(request, &archive, "\"a\"")
            .with(|answer| answer.silent_after = (n < 2).then_some(20_000 * (1 - n)))
    });
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let archive = good_zip();
    let (_, requests, notes) = comes_through(move |n, _| match n {
        0 => Answer::status(500),
        1 => Answer::status(503).with(|answer| answer.headers = vec![("Retry-After", "0".into())]),
        2 => Answer::status(429),
        _ => Answer::whole(&archive),
    });
    assert_eq!(requests.len(), 4);
    assert!(notes.contains("500"), "{notes}");
    let (message, _) = is_refused(|_, _| Answer::status(502));
    assert!(message.contains("502") && message.contains("4 attempts"), "{message}");
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let archive = good_zip();
    let (_, requests, _) = comes_through(move |_, request| match request.path.as_str() {
        "/small-v1.zip" => Answer::redirect("/a"),
        "/a" => Answer::redirect("b"),
        _ => Answer::whole(&archive),
    });
    assert_eq!(requests.len(), 3);
    let (message, _) = is_refused(|_, _| Answer::redirect("/small-v1.zip"));
    assert!(message.contains("redirected more than 4 times"), "{message}");
    let (message, _) = is_refused(|_, _| Answer::redirect("ftp://localhost/x"));
    assert!(message.contains("127.0.0.1"), "{message}");
}

#[test]
fn the_next_mirror_is_asked_and_all_are_told_of() {
    let archive = good_zip();
    let size = archive.len();
    let mut flipped = archive.clone();
    flipped[size / 2] ^= 1;
    let got = sum::<Md5>(&flipped);
    let bad = Server::start(move |_, request| match request.path.as_str() {
        "/forbidden" => Answer::status(403),
        "/gone" => Answer::status(404),
        "/page" => Answer::whole(b"<html>log in</html>")
            .with(|answer| answer.headers = vec![("Content-Type", "text/html".into())]),
        "/huge" => Answer::whole(b"x").with(|answer| answer.length = Some(Some(50_000_000_000))),
        "/endless" => Answer::whole(&vec![7; 3 * size]).with(|answer| answer.length = Some(None)),
        _ => Answer::whole(&flipped),
    });
    let paths = ["/forbidden", "/gone", "/page", "/huge", "/endless", "/flipped"];
    let mut mirrors = paths.map(|path| bad.url(path)).to_vec();

    let folder = tempfile::tempdir().unwrap();
    let error = fetch(folder.path(), &mirrors).run(&mut Quiet).unwrap_err().to_string();
    for path in paths {
        assert!(error.contains(&bad.url(path)), "{error}");
    }
    let expected = sum::<Md5>(&archive);
    for said in ["403", "404", "web page", "50000.0 MB", "another file", &expected, &got] {
        assert!(error.contains(said), "no {said}: {error}");
    }
    // What was refused can be looked at.
    assert_eq!(names(folder.path()), [".small.lock", "small-v1.zip.refused"]);

    let good = Server::start(move |_, _| Answer::whole(&archive));
    mirrors.push(good.url("/small-v1.zip"));
    let folder = tempfile::tempdir().unwrap();
    let fetched = fetch(folder.path(), &mirrors).run(&mut Quiet).unwrap();
    assert_eq!(fetched.from, Some(good.url("/small-v1.zip")));
    holds_texts(&fetched.path);
}

#[test]
fn a_mirror_goes_on_where_another_broke_off() {
    let archive = good_zip();
    let body = archive.clone();
    let first = Server::start(move |n, request| match n {
        0 => Answer::ranges(request, &body, "\"a\"").with(|a| a.drop_after = Some(30_000)),
        _ => Answer::status(404),
    });
    let second = Server::start(move |_, request| Answer::ranges(request, &archive, "\"b\""));
    let folder = tempfile::tempdir().unwrap();
    let mirrors = [first.url("/a"), second.url("/b")];
    let fetched = fetch(folder.path(), &mirrors).run(&mut Quiet).unwrap();
    is_whole(folder.path(), &fetched);
    assert_eq!(second.requests()[0].from(), Some(30_000));
    // The tag of one server means nothing to the other.
    assert_eq!(second.requests()[0].header("if-range"), None);
}

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

#[test]
fn an_archive_put_there_by_hand_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("small-v1.zip");
    fs::write(&own, good_zip()).unwrap();
    let fetched = fetch(folder.path(), &[]).run(&mut Quiet).unwrap();
    assert_eq!((fetched.from, fetched.downloaded), (Some(own.display().to_string()), 0));
    holds_texts(&fetched.path);
    assert!(own.exists());

    // Half of it is not taken, not touched, and said.
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("small-v1.zip");
    fs::write(&own, &good_zip()[..30_000]).unwrap();
    let server = Server::start(|_, _| Answer::whole(&good_zip()));
    let mut notes = Notes::default();
    let fetched = fetch(folder.path(), &[server.url("/x")]).run(&mut notes).unwrap();
    assert_eq!(fetched.from, Some(server.url("/x")));
    assert_eq!(fs::read(&own).unwrap(), &good_zip()[..30_000]);
    assert!(notes.0.contains("is left alone"), "{}", notes.0);
}

#[test]
fn texts_that_are_there_stay() {
    let server = Server::start(|_, _| Answer::whole(&good_zip()));
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("small");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("notes"), "mine").unwrap();
    // As the original's script renames it.
    fs::write(inner.join("valid.txt"), text("valid")).unwrap();
    let fetch = fetch(folder.path(), &[server.url("/x")]);
    fetch.run(&mut Quiet).unwrap();
    assert_eq!(names(&inner), ["notes", "valid.txt", "wiki.test.tokens", "wiki.train.tokens"]);
    fetch.run(&mut Quiet).unwrap();
    assert_eq!(server.requests().len(), 1);

    // Another text is neither overwritten nor passed over.
    let mut other = text("valid");
    other[7] ^= 1;
    for bytes in [other, b"short".to_vec()] {
        fs::write(inner.join("valid.txt"), &bytes).unwrap();
        let error = fetch.run(&mut Quiet).unwrap_err();
        assert!(matches!(error, Error::BadFile { .. }), "{error:?}");
        assert!(error.to_string().contains("valid.txt: is in the way"), "{error}");
        assert_eq!(fs::read(inner.join("valid.txt")).unwrap(), bytes);
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn rubbish_of_killed_processes_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str| folder.path().join(name);
    fs::write(part("small-v1.zip.part"), [7; 40_000]).unwrap();
    fs::write(part("small-v1.zip.part.json"), "{\"url\": ").unwrap();
    fs::create_dir(part(".small.unpacking")).unwrap();
    fs::write(part(".small.unpacking/wiki.train.tokens"), "half").unwrap();
    let archive = good_zip();
    let server = Server::start(move |_, request| Answer::ranges(request, &archive, "\"a\""));
    let fetched = fetch(folder.path(), &[server.url("/x")]).run(&mut Quiet).unwrap();
    is_whole(folder.path(), &fetched);

    // A part that is complete is not fetched again, even from a server that is gone.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small-v1.zip.part"), good_zip()).unwrap();
    let gone = Server::start(|_, _| Answer::status(404));
    let fetched = fetch(folder.path(), &[gone.url("/x")]).run(&mut Quiet).unwrap();
    is_whole(folder.path(), &fetched);
    assert_eq!((fetched.downloaded, gone.requests().len()), (0, 0));
}

#[test]
fn one_folder_one_process() {
    let archive = good_zip();
    let server = Server::start(move |_, _| {
        Answer::whole(&archive).with(|answer| answer.pause = Some(Duration::from_millis(10)))
    });
    let folder = tempfile::tempdir().unwrap();
    let fetch = fetch(folder.path(), &[server.url("/x")]);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| fetch.run(&mut Quiet).unwrap());
        wait_for(|| !server.requests().is_empty());
        let error = fetch.run(&mut Quiet).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error:?}");
        assert!(error.to_string().contains("another process is fetching"), "{error}");
        first.join().unwrap();
    });
    assert_eq!(server.requests().len(), 1);
}

fn wait_for(ready: impl Fn() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(30), "never ready");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_interrupt_keeps_the_part() {
    let archive = good_zip();
    let size = archive.len() as u64;
    // In the middle of the body, of a silence, and of a pause before a retry.
    for moment in ["body", "silence", "pause"] {
        let archive = archive.clone();
        let server = Server::start(move |n, request| {
            let answer = Answer::ranges(request, &archive, "\"a\"");
            match (n, moment) {
                (0, "body") => answer.with(|answer| answer.pause = Some(Duration::from_millis(20))),
                (0, "silence") => answer.with(|answer| answer.silent_after = Some(20_000)),
                (0, _) => answer.with(|answer| answer.drop_after = Some(20_000)),
                _ => answer,
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        let slow = Patience {
            silence: Duration::from_secs(20),
            pause: Duration::from_secs(20),
            ..patience()
        };
        let fetch = fetch(folder.path(), &[server.url("/x")]);
        let part = folder.path().join("small-v1.zip.part");
        let kept = || fs::metadata(&part).map_or(0, |data| data.len());
        std::thread::scope(|scope| {
            let work = fetch.clone().patience(slow).interrupt(interrupt.clone());
            let working = scope.spawn(move || work.run(&mut Quiet).unwrap_err());
            wait_for(|| kept() >= 20_000);
            let asked = Instant::now();
            interrupt.request();
            let error = working.join().unwrap();
            assert!(asked.elapsed() < Duration::from_secs(1), "{moment}: {:?}", asked.elapsed());
            assert_eq!(error.exit_status(), 130, "{error}");
            assert!(error.to_string().contains("are kept in"), "{error}");
        });
        let before = kept();
        let fetched = fetch.run(&mut Quiet).unwrap();
        is_whole(folder.path(), &fetched);
        assert_eq!(fetched.downloaded, size - before, "{moment}");
    }
}

/// Runs `reproduce data fetch wikitext-103 --to … --url …`.
fn program(to: &Path, url: &str) -> Ran {
    reproduce(&[
        "data",
        "fetch",
        "wikitext-103",
        "--json",
        "--to",
        to.to_str().unwrap(),
        "--url",
        url,
    ])
}

#[test]
fn the_program_takes_nothing_but_wikitext_103() {
    let server = Server::start(|_, _| Answer::whole(&good_zip()));
    let folder = tempfile::tempdir().unwrap();
    let ran = program(folder.path(), &server.url("/wikitext-103-v1.zip"));
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    let got = sum::<Md5>(&good_zip());
    for said in ["9ddaacaf6af0710eda8c456decff7832", &got, "what to do:", "wikitext.smerity.com"] {
        assert!(ran.stderr.contains(said), "no {said}: {}", ran.stderr);
    }
    assert_eq!(names(folder.path()), [".wikitext-103.lock", "wikitext-103-v1.zip.refused"]);

    let to = folder.path().to_str().unwrap();
    program(folder.path(), "file:///etc/passwd").is_refused("a file");
    program(folder.path(), "https://").is_refused("no host");
    reproduce(&["data", "fetch", "wikitext-2", "--to", to]).is_refused("another corpus");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    program(&file, &server.url("/x")).is_refused("a file for a folder");
}

#[test]
fn nobody_at_the_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{free}/x.zip");
    let error = fetch(folder.path(), &[url]).run(&mut Quiet).unwrap_err().to_string();
    assert!(error.contains("4 attempts") && error.contains("put it into"), "{error}");
    let url = "http://no-such-host.invalid/x.zip";
    let ran = program(folder.path(), url);
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot be looked up"), "{}", ran.stderr);
}

#[test]
fn ctrl_c_ends_the_program_within_a_second() {
    let server = Server::start(|_, _| {
        Answer::whole(&good_zip()).with(|answer| answer.silent_after = Some(30_000))
    });
    let folder = tempfile::tempdir().unwrap();
    let (to, url) = (folder.path().to_str().unwrap(), server.url("/x"));
    let args = ["data", "fetch", "wikitext-103", "--to", to, "--url", &url];
    let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let part = folder.path().join("wikitext-103-v1.zip.part");
    wait_for(|| fs::metadata(&part).is_ok_and(|data| data.len() == 30_000));
    let asked = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("30.0 kB are kept in"), "{}", ran.stderr);
    assert_eq!(fs::metadata(&part).unwrap().len(), 30_000);
}

#[test]
fn kills_lose_nothing() {
    let server = Server::start(|_, request| {
        Answer::ranges(request, &good_zip(), "\"a\"")
            .with(|answer| answer.pause = Some(Duration::from_millis(2)))
    });
    let folder = tempfile::tempdir().unwrap();
    let (to, url) = (folder.path().to_str().unwrap(), server.url("/x"));
    let args = ["data", "fetch", "wikitext-103", "--to", to, "--url", &url];
    let part = folder.path().join("wikitext-103-v1.zip.part");
    let kept = || fs::metadata(&part).map_or(0, |data| data.len());
    let mut before = 0;
    for _ in 0..5 {
        let mut child = command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for(|| kept() > before + 5_000);
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        before = kept();
        let from = server.requests().last().unwrap().from().unwrap_or(0) as u64;
        assert!((from == 0) == (server.requests().len() == 1) && from < before);
    }
    // It is another archive than the program wants, but it came over whole.
    assert_eq!(program(folder.path(), &url).status, Some(1));
    let refused = folder.path().join("wikitext-103-v1.zip.refused");
    assert!(fs::read(refused).unwrap() == good_zip());
    assert_eq!(server.requests().last().unwrap().from(), None);
}

#[test]
fn a_full_disk_is_said_and_the_part_kept() {
    let server = Server::start(|_, _| Answer::whole(&good_zip()));
    let folder = tempfile::tempdir().unwrap();
    // No file may grow beyond 16 blocks of 512 bytes (of 1,024 in some shells); what a full disk
    // does to a write, but for the word in the message.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, "sh", env!("CARGO_BIN_EXE_reproduce")]);
    shell.args(["data", "fetch", "wikitext-103", "--url", &server.url("/x"), "--to"]);
    let ran = Ran::from(shell.arg(folder.path()).env("OMP_NUM_THREADS", "1").output().unwrap());
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("there is no room"), "{}", ran.stderr);
    let part: PathBuf = folder.path().join("wikitext-103-v1.zip.part");
    let kept = fs::read(part).unwrap();
    assert!(kept.len() >= 8192 && good_zip().starts_with(&kept), "{}", kept.len());
}
