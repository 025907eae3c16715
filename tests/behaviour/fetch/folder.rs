//! What lies in the folder already, and who else is at work there.

use std::fs;
use std::time::{Duration, Instant};

use qrnn::Error;
use qrnn::data::download::{Fetch, Patience};
use qrnn::interrupt::Interrupt;
use qrnn::progress::Silent;

use super::server::{Answer, Server};
use super::{
    Notes, dataset, fetch, good_zip, holds_texts, is_whole, names, patience, text, wait_for,
};

#[test]
fn texts_arrive_whole_and_only_once() {
    let archive = good_zip();
    let server = Server::start(move |_, _| Answer::whole(&archive));
    let folder = tempfile::tempdir().unwrap();
    let fetch = fetch(folder.path(), &[server.url("/small-v1.zip")]);
    let fetched = fetch.run(&mut Silent).unwrap();
    is_whole(folder.path(), &fetched);
    assert_eq!(fetched.downloaded, good_zip().len() as u64);
    assert_eq!(fetched.from, Some(server.url("/small-v1.zip")));
    assert_eq!(server.requests().len(), 1);

    let again = fetch.run(&mut Silent).unwrap();
    is_whole(folder.path(), &again);
    assert_eq!((again.downloaded, again.from), (0, None));
    // The folder itself may be named, too.
    let inside = Fetch::new(dataset(&[]), folder.path().join("small")).run(&mut Silent).unwrap();
    assert_eq!(inside.path, folder.path().join("small"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_archive_put_there_by_hand_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("small-v1.zip");
    fs::write(&own, good_zip()).unwrap();
    let fetched = fetch(folder.path(), &[]).run(&mut Silent).unwrap();
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
    fetch.run(&mut Silent).unwrap();
    assert_eq!(names(&inner), ["notes", "valid.txt", "wiki.test.tokens", "wiki.train.tokens"]);
    fetch.run(&mut Silent).unwrap();
    assert_eq!(server.requests().len(), 1);

    // Another text is neither overwritten nor passed over.
    let mut other = text("valid");
    other[7] ^= 1;
    for bytes in [other, b"short".to_vec()] {
        fs::write(inner.join("valid.txt"), &bytes).unwrap();
        let error = fetch.run(&mut Silent).unwrap_err();
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
    let fetched = fetch(folder.path(), &[server.url("/x")]).run(&mut Silent).unwrap();
    is_whole(folder.path(), &fetched);

    // A part that is complete is not fetched again, even from a server that is gone.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small-v1.zip.part"), good_zip()).unwrap();
    let gone = Server::start(|_, _| Answer::status(404));
    let fetched = fetch(folder.path(), &[gone.url("/x")]).run(&mut Silent).unwrap();
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
        let first = scope.spawn(|| fetch.run(&mut Silent).unwrap());
        wait_for(|| !server.requests().is_empty());
        let error = fetch.run(&mut Silent).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error:?}");
        assert!(error.to_string().contains("another process is fetching"), "{error}");
        first.join().unwrap();
    });
    assert_eq!(server.requests().len(), 1);
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
            let working = scope.spawn(move || work.run(&mut Silent).unwrap_err());
            wait_for(|| kept() >= 20_000);
            let asked = Instant::now();
            interrupt.request();
            let error = working.join().unwrap();
            assert!(asked.elapsed() < Duration::from_secs(1), "{moment}: {:?}", asked.elapsed());
            assert_eq!(error.exit_status(), 130, "{error}");
            assert!(error.to_string().contains("are kept in"), "{error}");
        });
        let before = kept();
        let fetched = fetch.run(&mut Silent).unwrap();
        is_whole(folder.path(), &fetched);
        assert_eq!(fetched.downloaded, size - before, "{moment}");
    }
}
