//! Existing files in the destination folder, and concurrent processes.

use std::fs;
use std::time::{Duration, Instant};

use qrnn::Error;
use qrnn::data::download::{Fetch, RetryPolicy};
use qrnn::interrupt::Interrupt;
use qrnn::progress::Silent;

use super::server::{Response, Server};
use super::{
    Messages, assert_complete, assert_texts, dataset, fetch, file_names, good_zip, retry_policy,
    text, wait_for,
};

#[test]
fn texts_are_downloaded_once() {
    let archive = good_zip();
    let server = Server::start(move |_, _| Response::whole(&archive));
    let folder = tempfile::tempdir().unwrap();
    let fetch = fetch(folder.path(), &[server.url("/small-v1.zip")]);
    let fetched = fetch.run(&mut Silent).unwrap();
    assert_complete(folder.path(), &fetched);
    assert_eq!(fetched.downloaded, good_zip().len() as u64);
    assert_eq!(fetched.from, Some(server.url("/small-v1.zip")));
    assert_eq!(server.requests().len(), 1);

    let second = fetch.run(&mut Silent).unwrap();
    assert_complete(folder.path(), &second);
    assert_eq!((second.downloaded, second.from), (0, None));
    // --to may also name the folder of the texts.
    let inside = Fetch::new(dataset(&[]), folder.path().join("small")).run(&mut Silent).unwrap();
    assert_eq!(inside.path, folder.path().join("small"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_manually_downloaded_archive_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let archive_path = folder.path().join("small-v1.zip");
    fs::write(&archive_path, good_zip()).unwrap();
    let fetched = fetch(folder.path(), &[]).run(&mut Silent).unwrap();
    assert_eq!((fetched.from, fetched.downloaded), (Some(archive_path.display().to_string()), 0));
    assert_texts(&fetched.path);
    assert!(archive_path.exists());

    // A truncated archive is ignored with a message, and not modified.
    let folder = tempfile::tempdir().unwrap();
    let archive_path = folder.path().join("small-v1.zip");
    fs::write(&archive_path, &good_zip()[..30_000]).unwrap();
    let server = Server::start(|_, _| Response::whole(&good_zip()));
    let mut messages = Messages::default();
    let fetched = fetch(folder.path(), &[server.url("/x")]).run(&mut messages).unwrap();
    assert_eq!(fetched.from, Some(server.url("/x")));
    assert_eq!(fs::read(&archive_path).unwrap(), &good_zip()[..30_000]);
    assert!(messages.0.contains("ignoring"), "{}", messages.0);
}

#[test]
fn existing_texts_are_kept() {
    let server = Server::start(|_, _| Response::whole(&good_zip()));
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("small");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("notes"), "mine").unwrap();
    // The file name that the script of awd-lstm-lm uses.
    fs::write(inner.join("valid.txt"), text("valid")).unwrap();
    let fetch = fetch(folder.path(), &[server.url("/x")]);
    fetch.run(&mut Silent).unwrap();
    assert_eq!(file_names(&inner), ["notes", "valid.txt", "wiki.test.tokens", "wiki.train.tokens"]);
    fetch.run(&mut Silent).unwrap();
    assert_eq!(server.requests().len(), 1);

    // A different text is an error, and not overwritten.
    let mut other = text("valid");
    other[7] ^= 1;
    for bytes in [other, b"short".to_vec()] {
        fs::write(inner.join("valid.txt"), &bytes).unwrap();
        let error = fetch.run(&mut Silent).unwrap_err();
        assert!(matches!(error, Error::BadFile { .. }), "{error:?}");
        assert!(error.to_string().contains("valid.txt: is not the published text"), "{error}");
        assert_eq!(fs::read(inner.join("valid.txt")).unwrap(), bytes);
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn leftovers_of_killed_processes_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str| folder.path().join(name);
    fs::write(part("small-v1.zip.part"), [7; 40_000]).unwrap();
    fs::write(part("small-v1.zip.part.json"), "{\"url\": ").unwrap();
    fs::create_dir(part(".small.unpacking")).unwrap();
    fs::write(part(".small.unpacking/wiki.train.tokens"), "half").unwrap();
    let archive = good_zip();
    let server = Server::start(move |_, request| Response::ranges(request, &archive, "\"a\""));
    let fetched = fetch(folder.path(), &[server.url("/x")]).run(&mut Silent).unwrap();
    assert_complete(folder.path(), &fetched);

    // A complete partial file is used without a request.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small-v1.zip.part"), good_zip()).unwrap();
    let gone = Server::start(|_, _| Response::status(404));
    let fetched = fetch(folder.path(), &[gone.url("/x")]).run(&mut Silent).unwrap();
    assert_complete(folder.path(), &fetched);
    assert_eq!((fetched.downloaded, gone.requests().len()), (0, 0));
}

#[test]
fn a_second_process_is_refused_for_the_same_folder() {
    let archive = good_zip();
    let server = Server::start(move |_, _| {
        Response::whole(&archive).with(|response| response.pause = Some(Duration::from_millis(10)))
    });
    let folder = tempfile::tempdir().unwrap();
    let fetch = fetch(folder.path(), &[server.url("/x")]);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| fetch.run(&mut Silent).unwrap());
        wait_for(|| !server.requests().is_empty());
        let error = fetch.run(&mut Silent).unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{error:?}");
        assert!(error.to_string().contains("another process is fetching"), "{error}");
        first.join().unwrap();
    });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_interrupt_keeps_the_partial_file() {
    let archive = good_zip();
    let size = archive.len() as u64;
    // While the body arrives, while the server is silent, and during the delay before a retry.
    for moment in ["body", "silence", "pause"] {
        let archive = archive.clone();
        let server = Server::start(move |n, request| {
            let response = Response::ranges(request, &archive, "\"a\"");
            match (n, moment) {
                (0, "body") => {
                    response.with(|response| response.pause = Some(Duration::from_millis(20)))
                }
                (0, "silence") => response.with(|response| response.silent_after = Some(20_000)),
                (0, _) => response.with(|response| response.drop_after = Some(20_000)),
                _ => response,
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        let slow = RetryPolicy {
            read_timeout: Duration::from_secs(20),
            first_delay: Duration::from_secs(20),
            ..retry_policy()
        };
        let fetch = fetch(folder.path(), &[server.url("/x")]);
        let part = folder.path().join("small-v1.zip.part");
        let saved_bytes = || fs::metadata(&part).map_or(0, |data| data.len());
        std::thread::scope(|scope| {
            let work = fetch.clone().retry_policy(slow).interrupt(interrupt.clone());
            let working = scope.spawn(move || work.run(&mut Silent).unwrap_err());
            wait_for(|| saved_bytes() >= 20_000);
            let requested = Instant::now();
            interrupt.request();
            let error = working.join().unwrap();
            assert!(
                requested.elapsed() < Duration::from_secs(1),
                "{moment}: {:?}",
                requested.elapsed()
            );
            assert!(matches!(error, Error::Interrupted { .. }), "{error}");
            assert!(error.to_string().contains("are saved in"), "{error}");
        });
        let before = saved_bytes();
        let fetched = fetch.run(&mut Silent).unwrap();
        assert_complete(folder.path(), &fetched);
        assert_eq!(fetched.downloaded, size - before, "{moment}");
    }
}
