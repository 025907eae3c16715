//! Tables that are killed, shared between processes, and gathered.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{Ran, command, reproduce};

const KILLS: usize = 10;

/// A text of 20,000 training tokens, whose models take about two seconds each at scale 50.
fn text_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let line =
        |i: usize| format!(" the {} cat sat on mat {} . \n \n", ["big", "old"][i % 2], i % 37);
    for (split, lines) in [("train", 2_300), ("valid", 60), ("test", 60)] {
        let text: String = (0..lines).map(line).collect();
        fs::write(folder.path().join(format!("{split}.txt")), text).unwrap();
    }
    folder
}

fn arguments<'a>(data: &'a Path, out: &'a Path, choice: &'a str) -> Vec<&'a str> {
    let paths = ["--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
    ["--scale", "50"].into_iter().chain(paths).chain(choice.split(' ')).collect()
}

fn results(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap()
}

/// Results without times and command lines.
fn timeless(mut results: Value) -> Value {
    fn remove(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields
                    .retain(|name, _| !["seconds", "started", "command"].contains(&name.as_str()));
                fields.values_mut().for_each(remove);
            }
            Value::Array(items) => items.iter_mut().for_each(remove),
            _ => {}
        }
    }
    remove(&mut results);
    results
}

/// Names of the runs in a table's folder.
fn runs(out: &Path) -> Vec<String> {
    let runs = fs::read_dir(out.join("runs")).unwrap();
    let mut names: Vec<_> =
        runs.map(|run| run.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// How often a run was started: each start has a TensorBoard file of its own.
fn starts(run: &Path) -> usize {
    let files = fs::read_dir(run).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("tfevents")).count()
}

#[test]
fn ten_kills_change_nothing() {
    let (data, folder) = (text_folder(), tempfile::tempdir().unwrap());
    let (calm, killed) = (folder.path().join("calm"), folder.path().join("killed"));
    let choice = "--rows 300-2000-140,300-1500-140 --lengths 140 --seeds 2 --json";
    let expected =
        Ran::from(command(&arguments(data.path(), &calm, choice)).output().unwrap()).json();

    let mut random = ChaCha8Rng::seed_from_u64(16);
    let mut kills = 0;
    // A machine that is fast enough to finish before the last kill is killed less often, but not seldom.
    while kills < KILLS {
        let mut child = command(&arguments(data.path(), &killed, choice))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random.random_range(200..1_600)));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
        kills += 1;
        if killed.join("results.json").exists() {
            results(&killed); // whole, whenever the process was killed
        }
    }
    assert!(kills >= 4, "finished after {kills} kills");
    let resumed = Ran::from(command(&arguments(data.path(), &killed, choice)).output().unwrap());
    let resumed = resumed.json();
    assert_eq!(timeless(resumed), timeless(expected));
    assert_eq!(timeless(results(&killed)), timeless(results(&calm)));
    assert_eq!(results(&killed)["missing"], serde_json::json!([]));
    for name in runs(&calm) {
        let weights = |out: &Path| fs::read(out.join("runs").join(&name).join("model.safetensors"));
        assert!(weights(&calm).unwrap() == weights(&killed).unwrap(), "{name}");
    }

    // All runs are there: nothing is trained, and the command says so.
    let again = Ran::from(command(&arguments(data.path(), &killed, choice)).output().unwrap());
    again.succeeds();
    let said = again.stderr.contains("all 4 runs are in") && again.stderr.contains("--overwrite");
    assert!(said, "{}", again.stderr);
}

#[test]
fn two_processes_share_the_runs_of_one_folder() {
    let (data, folder) = (text_folder(), tempfile::tempdir().unwrap());
    let (alone, shared) = (folder.path().join("alone"), folder.path().join("shared"));
    let choice = "--rows 300-2000-140,300-1500-140 --lengths all --seeds 1 --json";
    reproduce(&arguments(data.path(), &alone, choice)).succeeds();
    let arguments = arguments(data.path(), &shared, choice);
    let children = [0, 1].map(|_| {
        command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for child in children {
        Ran::from(child.wait_with_output().unwrap()).succeeds();
    }
    for name in runs(&shared) {
        assert_eq!(starts(&shared.join("runs").join(&name)), 1, "{name}");
    }
    assert_eq!(runs(&shared), runs(&alone));
    assert_eq!(timeless(results(&shared)), timeless(results(&alone)));
}

/// A process on a machine whose file locks do not reach this one.
#[test]
fn a_run_of_another_machine_is_left_to_it_while_its_heart_beats() {
    let (data, folder) = (text_folder(), tempfile::tempdir().unwrap());
    let out = folder.path().join("out");
    let run = out.join("runs/6-30-5-s1882");
    fs::create_dir_all(&run).unwrap();
    let beats = AtomicBool::new(true);
    let beat = |number: u64| {
        let owner = r#"{"host":"far","system":"another","process":7,"token":"t"}"#;
        fs::write(run.join("owner"), format!("{owner}\n{number:020}\n")).unwrap();
    };
    beat(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1.. {
                if !beats.load(Ordering::Relaxed) {
                    break;
                }
                beat(number);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let choice = "--rows 300-1500-140,300-2000-140";
        let ran = reproduce(&arguments(data.path(), &out, choice));
        beats.store(false, Ordering::Relaxed);
        ran.succeeds();
        let left = "6-30-5-s1882 is left to another process (process 7 on far)";
        assert!(ran.stderr.contains(left), "{}", ran.stderr);
        assert!(ran.stdout.contains("the run 6-30-5-s1882 is missing"), "{}", ran.stdout);
    });
    let results = results(&out);
    assert_eq!(results["missing"], serde_json::json!(["6-30-5-s1882"]));
    assert!(results["rows"][0]["measured"]["test_ppl"].is_number());
    assert!(!run.join("config.json").exists(), "the run was touched");
}

#[test]
fn tasks_in_two_folders_are_gathered() {
    let (data, folder) = (text_folder(), tempfile::tempdir().unwrap());
    let [a, b, out] = ["a", "b", "out"].map(|name| folder.path().join(name));
    reproduce(&arguments(data.path(), &a, "--rows 300-2000-140 --seeds 2")).succeeds();
    reproduce(&arguments(data.path(), &b, "--lengths 200,50 --seeds 2")).succeeds();
    let [a, b, out_text] = [&a, &b, &out].map(|path| path.to_str().unwrap());
    let gathered = reproduce(&["report", a, b, "--out", out_text, "--json"]).json();
    assert_eq!(gathered["rows"].as_array().unwrap().len(), 1);
    let lengths = gathered["lengths"].as_array().unwrap();
    let published: Vec<_> = lengths.iter().map(|length| &length["published"]["bptt"]).collect();
    assert_eq!(published, [50, 200]);
    let measured = &gathered["rows"][0]["measured"];
    assert_eq!(measured["runs"][1]["folder"], "../a/runs/6-40-5-s1883");
    assert!(measured["test_ppl_deviation"].as_f64().unwrap() > 0.0);
    for file in ["results.json", "report.html", "perplexity_vs_bptt.svg"] {
        assert!(out.join(file).exists(), "{file}");
    }
    let report = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(report.contains(" ± ") && report.contains("1882 to 1883"));

    // Another text, with an equal name and another content.
    let other = text_folder();
    fs::write(other.path().join("test.txt"), " a cat sat \n".repeat(60)).unwrap();
    let c = folder.path().join("c");
    reproduce(&arguments(other.path(), &c, "--rows 300-1500-140")).succeeds();
    let refused = reproduce(&["report", a, c.to_str().unwrap(), "--out", out_text]);
    refused.is_refused("another text");
    assert!(refused.stderr.contains("c/runs/6-30-5-s1882: its text is"), "{}", refused.stderr);
    let refused = reproduce(&["report", data.path().to_str().unwrap()]);
    refused.is_refused("a folder without runs");
}

/// The script in docs/experiments, by GNU parallel.
#[test]
#[ignore = "needs GNU parallel"]
fn gnu_parallel_trains_a_table_and_gathers_it() {
    let (data, folder) = (text_folder(), tempfile::tempdir().unwrap());
    let (alone, tasks) = (folder.path().join("alone"), folder.path().join("several tasks"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/experiments/parallel.sh");
    let ran = Command::new(script)
        .arg(&tasks)
        .args(["--scale", "50", "--data", data.path().to_str().unwrap()])
        .env("REPRODUCE", env!("CARGO_BIN_EXE_reproduce"))
        .output();
    Ran::from(ran.unwrap()).succeeds();
    reproduce(&arguments(data.path(), &alone, "--rows all --lengths all")).succeeds();
    let [mut together, alone] = [&tasks, &alone].map(|out| timeless(results(out)));
    assert_eq!(together["rows"], alone["rows"]);
    assert_eq!(together["lengths"], alone["lengths"]);
    assert_eq!(together["missing"].take(), serde_json::json!([]));
    for name in runs(&tasks) {
        assert_eq!(starts(&tasks.join("runs").join(&name)), 1, "{name}");
    }
}
