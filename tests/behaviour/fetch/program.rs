//! The `data fetch` command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use md5::Md5;
use qrnn::progress::Silent;
use rustix::process::{Pid, Signal, kill_process};

use super::hub::tables;
use super::server::{Response, Server};
use super::{checksum, fetch, file_names, good_zip, wait_for};
use crate::program::{Ran, command, reproduce};

/// Runs `reproduce data fetch wikitext-103 --to … --url …`.
fn run_fetch(to: &Path, url: &str) -> Ran {
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
fn another_archive_or_corpus_is_refused() {
    let server = Server::start(|_, _| Response::whole(&good_zip()));
    let folder = tempfile::tempdir().unwrap();
    let ran = run_fetch(folder.path(), &server.url("/wikitext-103-v1.zip"));
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    let actual = checksum::<Md5>(&good_zip());
    for part in ["9ddaacaf6af0710eda8c456decff7832", &actual, "what to do:", "wikitext.smerity.com"]
    {
        assert!(ran.stderr.contains(part), "no {part}: {}", ran.stderr);
    }
    assert_eq!(file_names(folder.path()), [".wikitext-103.lock", "wikitext-103-v1.zip.refused"]);

    let to = folder.path().to_str().unwrap();
    run_fetch(folder.path(), "file:///etc/passwd").is_refused("a file");
    run_fetch(folder.path(), "https://").is_refused("no host");
    reproduce(&["data", "fetch", "wikitext-2", "--to", to]).is_refused("another corpus");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    run_fetch(&file, &server.url("/x")).is_refused("a file for a folder");
}

#[test]
fn an_unreachable_server_is_an_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{free}/x.zip");
    let error = fetch(folder.path(), &[url]).run(&mut Silent).unwrap_err().to_string();
    assert!(error.contains("4 attempts") && error.contains("put it into"), "{error}");
    let url = "http://no-such-host.invalid/x.zip";
    let ran = run_fetch(folder.path(), url);
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("cannot be looked up"), "{}", ran.stderr);
}

#[test]
fn ctrl_c_ends_the_program_within_a_second() {
    let server = Server::start(|_, _| {
        Response::whole(&good_zip()).with(|response| response.silent_after = Some(30_000))
    });
    let folder = tempfile::tempdir().unwrap();
    let (to, url) = (folder.path().to_str().unwrap(), server.url("/x"));
    let args = ["data", "fetch", "wikitext-103", "--to", to, "--url", &url];
    let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let part = folder.path().join("wikitext-103-v1.zip.part");
    wait_for(|| fs::metadata(&part).is_ok_and(|data| data.len() == 30_000));
    let requested = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert!(requested.elapsed() < Duration::from_secs(1), "{:?}", requested.elapsed());
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("30.0 kB are saved in"), "{}", ran.stderr);
    assert_eq!(fs::metadata(&part).unwrap().len(), 30_000);
}

#[test]
fn a_killed_download_is_resumed() {
    let server = Server::start(|_, request| {
        Response::ranges(request, &good_zip(), "\"a\"")
            .with(|response| response.pause = Some(Duration::from_millis(2)))
    });
    let folder = tempfile::tempdir().unwrap();
    let (to, url) = (folder.path().to_str().unwrap(), server.url("/x"));
    let args = ["data", "fetch", "wikitext-103", "--to", to, "--url", &url];
    let part = folder.path().join("wikitext-103-v1.zip.part");
    let saved_bytes = || fs::metadata(&part).map_or(0, |data| data.len());
    let mut before = 0;
    for _ in 0..5 {
        let mut child = command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for(|| saved_bytes() > before + 5_000);
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        before = saved_bytes();
        let from = server.requests().last().unwrap().from().unwrap_or(0) as u64;
        assert!((from == 0) == (server.requests().len() == 1) && from < before);
    }
    // The archive is not the published one, but its download is complete.
    assert_eq!(run_fetch(folder.path(), &url).status, Some(1));
    let refused = folder.path().join("wikitext-103-v1.zip.refused");
    assert!(fs::read(refused).unwrap() == good_zip());
    assert_eq!(server.requests().last().unwrap().from(), None);
}

#[test]
fn a_full_disk_is_reported_and_the_partial_file_kept() {
    let server = Server::start(|_, _| Response::whole(&good_zip()));
    let folder = tempfile::tempdir().unwrap();
    // Simulates a full disk: limits files to 16 blocks of 512 bytes (1,024 in some shells).
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, "sh", env!("CARGO_BIN_EXE_reproduce")]);
    shell.args(["data", "fetch", "wikitext-103", "--url", &server.url("/x"), "--to"]);
    let ran = Ran::from(shell.arg(folder.path()).env("OMP_NUM_THREADS", "1").output().unwrap());
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("there is no space left"), "{}", ran.stderr);
    let part: PathBuf = folder.path().join("wikitext-103-v1.zip.part");
    let saved_bytes = fs::read(part).unwrap();
    assert!(
        saved_bytes.len() >= 8192 && good_zip().starts_with(&saved_bytes),
        "{}",
        saved_bytes.len()
    );
}

#[test]
fn the_program_reads_the_endpoint_and_the_token_from_the_environment() {
    let hub = Server::start(|_, _| {
        Response::whole(&[7; 40_000]).with(|response| response.silent_after = Some(30_000))
    });
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let mut program = command(&["data", "fetch", "wikitext-103", "--to", to]);
    program.env("HF_ENDPOINT", hub.url("/")).env("HF_TOKEN", " hf_secret\n");
    let child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let part = folder.path().join("wikitext-103-v1-train-00000-of-00002.parquet.part");
    wait_for(|| fs::metadata(&part).is_ok_and(|data| data.len() == 30_000));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("30.0 kB are saved in"), "{}", ran.stderr);
    let requests = hub.requests();
    let path =
        "/datasets/Salesforce/wikitext/resolve/main/wikitext-103-v1/train-00000-of-00002.parquet";
    assert_eq!((requests.len(), requests[0].path.as_str()), (1, path));
    assert_eq!(requests[0].header("authorization"), Some("Bearer hf_secret"));
    assert!(!ran.stderr.contains("hf_secret"));

    let mut program = command(&["data", "fetch", "wikitext-103", "--to", to]);
    let ran = Ran::from(program.env("HF_ENDPOINT", "huggingface.co").output().unwrap());
    ran.is_refused("an endpoint without https");
    assert!(ran.stderr.contains("HF_ENDPOINT huggingface.co"), "{}", ran.stderr);
}

/// What is wrong with a folder's Parquet files is an error of the input, without a panic's message.
#[test]
fn the_program_names_a_damaged_parquet_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, bytes) in tables() {
        fs::write(path(&name), bytes).unwrap();
    }
    let stats = || {
        reproduce(&[
            "data",
            "stats",
            "--no-cache",
            "--json",
            "--data",
            folder.path().to_str().unwrap(),
        ])
    };
    assert_eq!(stats().json()["train_tokens"], 6000);
    let name = "train-00001-of-00002.parquet";
    let whole = fs::read(path(name)).unwrap();
    for step in [1, 7, 31] {
        // Bytes of the first page and of its header, which the decoder does not check.
        let mut damaged = whole.clone();
        damaged[4..60].iter_mut().step_by(step).for_each(|byte| *byte ^= 0x55);
        fs::write(path(name), &damaged).unwrap();
        let ran = stats();
        ran.is_refused("damaged");
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
    fs::write(path(name), &whole[..whole.len() / 2]).unwrap();
    let ran = stats();
    ran.is_refused("truncated");
    assert!(ran.stderr.contains("is truncated"), "{}", ran.stderr);
}
