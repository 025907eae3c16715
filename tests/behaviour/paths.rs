//! Paths that are not valid UTF-8.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, command};

/// A folder named "café" in Latin-1.
fn cafe(folder: &Path) -> PathBuf {
    folder.join(OsStr::from_bytes(b"caf\xe9"))
}

fn run(words: &str, paths: &[(&str, &Path)]) -> Ran {
    let mut args: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
    for (flag, path) in paths {
        if !flag.is_empty() {
            args.push(flag.into());
        }
        args.push(path.into());
    }
    let output = command(&[]).args(args).output().unwrap();
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        status: output.status.code(),
        stdout: lossy(&output.stdout),
        stderr: lossy(&output.stderr),
    }
}

fn file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn commands_accept_paths_that_are_not_utf_8() {
    let folder = tempfile::tempdir().unwrap();
    let (text, root) = (text_folder(&small_text()), cafe(folder.path()));
    fs::create_dir(&root).unwrap();
    let (data, out) = (root.join("text"), root.join("run"));
    fs::create_dir(&data).unwrap();
    for name in ["train.txt", "valid.txt", "test.txt"] {
        fs::copy(text.path().join(name), data.join(name)).unwrap();
    }
    let command = "train --emsize 12 --nhid 24 --nlayers 2 --bptt 12 --batch-size 4 --json";
    let train =
        |flags: &str| run(&format!("{command} {flags}"), &[("--data", &data), ("--out", &out)]);
    let trained = train("--epochs 1").json();
    assert!(trained["checkpoint"].as_str().unwrap().ends_with("caf\u{fffd}/run/model.safetensors"));
    assert_eq!(file(&out.join("results.json")), trained);
    assert!(file(&out.join("config.json"))["corpus"].as_str().is_some());
    train("--epochs 2 --resume").json();

    let model = [("--checkpoint", out.as_path()), ("--data", &data)];
    assert!(run("evaluate --json", &model).json()["loss"].as_f64().is_some());
    assert!(run("generate --words 3 --json", &model).json()["text"].as_str().is_some());
    let stats = run("data stats --json", &[("--data", &data)]).json();
    assert_eq!(stats["cached"], true);
    let plotted = run("plot --json", &[("", &out), ("--out", &root)]).json();
    assert!(plotted["files"][0].as_str().unwrap().ends_with("caf\u{fffd}/training_curve.svg"));
    assert!(root.join("training_curve.png").is_file());
}

#[test]
fn the_table_accepts_a_path_that_is_not_utf_8() {
    let folder = tempfile::tempdir().unwrap();
    let out = cafe(folder.path());
    let table = "--rows 300-1500-140 --scale 50 --no-lengths --json";
    let results = run(table, &[("--out", &out)]).json();
    assert!(results["command"].as_str().unwrap().contains("caf\u{fffd}"), "{results}");
    assert_eq!(file(&out.join("results.json"))["command"], results["command"]);
    assert!(out.join("report.html").is_file());
}
