//! Runs and results written by commit 76ea3cb (`tests/fixtures/run-76ea3cb/`) can still be resumed, evaluated
//! and plotted.

use std::fs;
use std::path::{Path, PathBuf};

use qrnn::paper::results::ReproduceResults;
use serde_json::Value;

use crate::program::reproduce;

/// Steps of the runs in the fixture, and steps to which the old program resumed them.
const DONE: usize = 50;
const RESUMED_TO: &str = "80";

/// The runs and the flags in which they differ.
const RUNS: [(&str, &[&str]); 2] = [
    ("adam", &["--lr", "0.01", "--when", "3"]),
    ("asgd", &["--optimizer", "asgd", "--lr", "3", "--when", "-1"]),
];

/// Flags that the runs share: all dropouts, all regularizers, and softmax clusters.
const SHARED_FLAGS: &str = "--emsize 6 --nhid 10 --nlayers 2 --bptt 9 --batch-size 3 --splits 8,14 \
                      --precision fp32 --epochs 1000 --dropoute 0.1 --wdrop 0.1 --zoneout 0.1 \
                      --wdecay 0.000001 --alpha 2 --beta 1 --checkpoint-every 20 --log-interval 10";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/run-76ea3cb")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Copies the text and a run of the fixture to a temporary folder.
fn copy_fixture(name: &str) -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let [text, run] = ["text", name].map(|name| {
        copy(&fixture().join(name), &folder.path().join(name));
        folder.path().join(name).to_str().unwrap().to_owned()
    });
    (folder, text, run)
}

fn losses(result: &Value) -> Vec<f64> {
    result["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect()
}

/// The lines of a log up to step [`DONE`].
fn log(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let done = |line: &&str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["kind"] == "steps" && line["step"].as_u64().unwrap() <= DONE as u64
    };
    text.lines().filter(done).map(str::to_owned).collect()
}

/// The old program also used one thread. Other processors may add in another order: torch without AVX
/// changed losses by at most 8e-8 relative to AVX2 and AVX-512.
#[test]
fn an_older_run_resumes_with_the_same_losses() {
    for (name, flags) in RUNS {
        let (_folder, text, run) = copy_fixture(name);
        let mut args = vec!["train", "--resume", "--json", "--steps", RESUMED_TO];
        args.extend(["--data", &text, "--out", &run]);
        args.extend(SHARED_FLAGS.split_whitespace().chain(flags.iter().copied()));
        let now = reproduce(&args).json();
        let then = json(&fixture().join(format!("{name}-went-on.json")));
        let (losses_now, losses_then) = (losses(&now), losses(&then));
        assert_eq!(losses_now.len(), losses_then.len());
        // Losses stored in the checkpoint, and losses of later steps.
        assert_eq!(losses_now[..DONE], losses_then[..DONE], "{name}");
        for (step, (now, then)) in losses_now.iter().zip(&losses_then).enumerate() {
            assert!((now - then).abs() <= 1e-6 * then, "{name}, step {step}: {now} {then}");
        }
        let difference = now["test_loss"].as_f64().unwrap() - then["test_loss"].as_f64().unwrap();
        assert!(difference.abs() <= 1e-6, "{name}: {difference:e}");
        // A run that started from the beginning would log other speeds.
        let (resumed, original) = (log(Path::new(&run)), log(&fixture().join(name)));
        assert_eq!(original.len(), 5);
        assert_eq!(resumed, original, "{name}");
    }
}

#[test]
fn older_weights_have_the_same_test_loss() {
    for (name, _) in RUNS {
        let (_folder, text, run) = copy_fixture(name);
        let then = json(&Path::new(&run).join("results.json"));
        let now = reproduce(&["evaluate", "--checkpoint", &run, "--data", &text, "--json"]).json();
        let difference = now["loss"].as_f64().unwrap() - then["test_loss"].as_f64().unwrap();
        assert!(difference.abs() <= 1e-5, "{name}: {difference:e}");
    }
}

#[test]
fn older_logs_are_plotted() {
    let out = tempfile::tempdir().unwrap();
    let runs = RUNS.map(|(name, _)| fixture().join(name).to_str().unwrap().to_owned());
    let args = ["plot", &runs[0], &runs[1], "--out", out.path().to_str().unwrap(), "--json"];
    let plotted = reproduce(&args).json();
    assert_eq!(plotted["curves"], 4);
    let svg = fs::read_to_string(out.path().join("training_curve.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("adam") && svg.contains("asgd"), "{svg}");
}

/// Checks that each field of `old` is in `new` with the same value.
fn check_contains(old: &Value, new: &Value, path: &str) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (field, value) in old {
                let path = format!("{path}.{field}");
                check_contains(
                    value,
                    new.get(field).unwrap_or_else(|| panic!("{path} is missing")),
                    &path,
                );
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            assert_eq!(old.len(), new.len(), "{path}");
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                check_contains(old, new, &format!("{path}[{i}]"));
            }
        }
        _ => assert_eq!(old, new, "{path}"),
    }
}

#[test]
fn older_results_of_a_table_give_a_report() {
    let written = json(&fixture().join("table.json"));
    let results: ReproduceResults = serde_json::from_value(written.clone()).unwrap();
    let out = tempfile::tempdir().unwrap();
    results.save(out.path()).unwrap();
    check_contains(&written, &json(&out.path().join("results.json")), "results");
    let page = fs::read_to_string(out.path().join("report.html")).unwrap();
    let measured = results.rows[0].measured.as_ref().unwrap();
    for number in [results.rows[0].published.test_ppl, measured.test_ppl] {
        assert!(page.contains(&format!("{number:.2}")), "{number} is not in the page");
    }
    let plot = fs::read_to_string(out.path().join("perplexity_vs_parameters.svg")).unwrap();
    assert!(plot.starts_with("<svg"));
}

#[test]
fn older_results_are_reported_again_and_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results.json");
    fs::copy(fixture().join("table.json"), &results).unwrap();
    let before = json(&results);
    let out = folder.path().to_str().unwrap();
    reproduce(&["report", out]).succeeds();
    check_contains(&before, &json(&results), "results");
    assert!(folder.path().join("report.html").exists());
    let refused = reproduce(&["--rows", "300-1500-140", "--scale", "50", "--out", out]);
    refused.is_refused("results of version 0.1");
    assert!(refused.stderr.contains("kept no runs"), "{}", refused.stderr);
    check_contains(&before, &json(&results), "results");
}
