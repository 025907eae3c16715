//! The program itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use md5::Md5;
use qrnn::progress::Silent;
use rustix::process::{Pid, Signal, kill_process};

use super::server::{Answer, Server};
use super::{fetch, good_zip, names, sum, wait_for};
use crate::program::{Ran, command, reproduce};

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
    let error = fetch(folder.path(), &[url]).run(&mut Silent).unwrap_err().to_string();
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
