//! A closed pipe or a full disk behind standard output or standard error does not stop the work.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, command};

/// A pipe whose reader is closed, as after `| head -3`.
fn closed_pipe() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

/// A full disk.
fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn run(command: &mut Command) -> Ran {
    command.output().unwrap().into()
}

fn train<'a>(data: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let sizes = "train --emsize 12 --nhid 24 --nlayers 2 --bptt 12 --batch-size 4 --epochs 1 \
                 --log-interval 1 --checkpoint-every 5";
    let mut args: Vec<&str> = sizes.split_whitespace().collect();
    args.extend(["--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    args
}

/// The results.json of a finished run.
fn results(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap()
}

type MakeStdio = fn() -> Stdio;

#[test]
fn training_continues_when_output_cannot_be_written() {
    let data = text_folder(&small_text());
    for (name, errors, output, status) in [
        ("standard error closed", Some(closed_pipe as MakeStdio), None, 0),
        ("standard error full", Some(full_disk as MakeStdio), None, 0),
        ("both closed", Some(closed_pipe as MakeStdio), Some(closed_pipe as MakeStdio), 0),
        ("standard output closed", None, Some(closed_pipe as MakeStdio), 0),
        // The work is saved, but the status reports that the result could not be written.
        ("standard output full", None, Some(full_disk as MakeStdio), 1),
        ("both full", Some(full_disk as MakeStdio), Some(full_disk as MakeStdio), 1),
    ] {
        for json in [&[][..], &["--json"]] {
            let out = tempfile::tempdir().unwrap();
            let args = [&train(data.path(), out.path()), json].concat();
            let mut command = command(&args);
            if let Some(errors) = errors {
                command.stderr(errors());
            }
            if let Some(output) = output {
                command.stdout(output());
            }
            let ran = run(&mut command);
            assert_eq!(ran.status, Some(status), "{name}: {}", ran.stderr);
            assert!(!ran.stderr.contains("panicked"), "{name}: {}", ran.stderr);
            assert!(results(out.path())["test_loss"].as_f64().is_some(), "{name}");
            let reported = ran.stderr.contains("error: standard output: cannot write");
            assert_eq!(reported, status == 1 && errors.is_none(), "{name}: {}", ran.stderr);
        }
    }
}

#[test]
fn results_are_printed_when_standard_error_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let data = text_folder(&small_text());
    let data = data.path().to_str().unwrap();
    let commands: [&[&str]; 3] = [
        &["count", "--json"],
        &["data", "stats", "--no-cache", "--data", data, "--json"],
        &["--rows", "300-1500-140", "--scale", "50", "--no-lengths", "--out", out, "--json"],
    ];
    for args in commands {
        let takes_seconds = args[0] == "--rows";
        let outputs: &[MakeStdio] =
            if takes_seconds { &[closed_pipe] } else { &[closed_pipe, full_disk] };
        for errors in outputs {
            let ran = run(command(args).stderr(errors()));
            assert_eq!(ran.status, Some(0), "{args:?}");
            let last = ran.stdout.lines().last().unwrap_or_default();
            assert!(serde_json::from_str::<Value>(last).is_ok(), "{args:?}: {}", ran.stdout);
        }
    }
}

#[test]
fn a_result_that_cannot_be_printed_is_an_error_unless_the_pipe_is_closed() {
    for args in [&["count", "--json"][..], &["count"], &["--help"], &["--version"]] {
        let ran = run(command(args).stdout(closed_pipe()));
        assert_eq!(ran.status, Some(0), "{args:?}");
        assert!(!ran.stderr.contains("error"), "{args:?}: {}", ran.stderr);
        let ran = run(command(args).stdout(full_disk()));
        assert_eq!(ran.status, Some(1), "{args:?}");
        let message = "error: standard output: cannot write: No space left on device";
        assert!(ran.stderr.contains(message), "{args:?}: {}", ran.stderr);
    }
    // The exit status reports an error message that cannot be printed.
    for args in [&["count", "--emsize", "0"][..], &["plot", "no-such-run"]] {
        for errors in [closed_pipe as MakeStdio, full_disk] {
            assert_eq!(run(command(args).stderr(errors())).status, Some(2), "{args:?}");
        }
    }
}
