//! A training run that is killed and resumed many times gives exactly the results of an uninterrupted run.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::program::{Ran, command};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};

const KILLS: usize = 20;

/// 6,000 steps over several epochs with all dropouts and a checkpoint every 9 steps.
fn arguments<'a>(data: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let mut args = vec!["train", "--json", "--resume", "--steps", "6000", "--epochs", "1000"];
    args.extend(["--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    args.extend(["--emsize", "12", "--nhid", "24", "--nlayers", "2", "--bptt", "12"]);
    args.extend(["--batch-size", "4", "--splits", "none", "--lr", "0.003", "--when", "2"]);
    args.extend(["--dropoute", "0.1", "--wdrop", "0.1", "--zoneout", "0.1"]);
    args.extend(["--checkpoint-every", "9"]);
    args
}

fn write_text(folder: &Path) {
    let line =
        |i: usize| format!(" the {} cat sat on mat {} . \n \n", ["big", "old"][i % 2], i % 37);
    for (split, lines) in [("train", 900), ("valid", 60), ("test", 60)] {
        let text: String = (0..lines).map(line).collect();
        fs::write(folder.join(format!("{split}.txt")), text).unwrap();
    }
}

/// File names of the checkpoints of a run.
fn checkpoints(run: &Path) -> Vec<String> {
    let names = fs::read_dir(run).into_iter().flatten().map(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().into_owned()
    });
    let mut names: Vec<_> = names.filter(|name| name.starts_with("checkpoint-")).collect();
    names.sort();
    names
}

#[test]
fn twenty_kills_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path());
    let (uninterrupted, killed) = (folder.path().join("calm"), folder.path().join("killed"));
    let run = |out: &Path| Ran::from(command(&arguments(folder.path(), out)).output().unwrap());
    let expected = run(&uninterrupted).json();

    let mut random = ChaCha8Rng::seed_from_u64(20);
    let mut kills = 0;
    while kills < KILLS {
        let mut child = command(&arguments(folder.path(), &killed))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Every fourth process is killed within its first half second, the others after they have written a
        // checkpoint.
        let mut pause = random.random_range(0..500);
        if kills % 4 != 0 {
            let before = checkpoints(&killed);
            while checkpoints(&killed) == before {
                assert!(child.try_wait().unwrap().is_none(), "finished after {kills} kills");
                std::thread::sleep(Duration::from_millis(1));
            }
            pause /= 10;
        }
        std::thread::sleep(Duration::from_millis(pause));
        // The run must not have finished before the kill.
        assert!(child.try_wait().unwrap().is_none(), "finished after {kills} kills");
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        kills += 1;
    }
    let resumed = run(&killed).json();

    for field in ["losses", "test_loss", "parameters"] {
        assert_eq!(resumed[field], expected[field], "{field}");
    }
    assert_eq!(resumed["losses"].as_array().unwrap().len(), 6000);
    let weights = |out: &Path| fs::read(out.join("model.safetensors")).unwrap();
    assert!(weights(&killed) == weights(&uninterrupted), "the weights differ");
    // The log has each step once, even if steps were repeated.
    let steps = |out: &Path| -> Vec<u64> {
        let log = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let lines =
            log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .filter(|line| line["kind"] == "steps")
            .map(|line| line["step"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(steps(&killed), steps(&uninterrupted));
}

#[test]
fn a_second_ctrl_c_exits_at_once_and_leaves_a_valid_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path());
    let out = folder.path().join("run");
    let mut child = command(&arguments(folder.path(), &out))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !out.join("checkpoint-9.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..2 {
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    Ran::from(command(&arguments(folder.path(), &out)).output().unwrap()).succeeds();
}
