//! Runs and results that the program of commit 76ea3cb wrote (`tests/fixtures/run-76ea3cb/`) still
//! resume, evaluate and plot.

use std::fs;
use std::path::{Path, PathBuf};

use qrnn::paper::results::ReproduceResults;
use serde_json::Value;

use crate::program::reproduce;

/// Steps that the fixture's runs had done, and to which the same program then took them.
const DONE: usize = 50;
const WENT_ON_TO: &str = "80";

/// The runs, and the flags by which they differ.
const RUNS: [(&str, &[&str]); 2] = [
    ("adam", &["--lr", "0.01", "--when", "3"]),
    ("asgd", &["--optimizer", "asgd", "--lr", "3", "--when", "-1"]),
];

/// The flags that they share: every dropout, every regularizer, and clusters.
const SHARED: &str = "--emsize 6 --nhid 10 --nlayers 2 --bptt 9 --batch-size 3 --splits 8,14 \
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

/// The fixture's text and one of its runs, in a folder that may be written to.
fn restored(name: &str) -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let [text, run] = ["text", name].map(|part| {
        copy(&fixture().join(part), &folder.path().join(part));
        folder.path().join(part).to_str().unwrap().to_owned()
    });
    (folder, text, run)
}

fn losses(result: &Value) -> Vec<f64> {
    result["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect()
}

/// The lines of a log up to step `DONE`.
fn log(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let done = |line: &&str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["kind"] == "steps" && line["step"].as_u64().unwrap() <= DONE as u64
    };
    text.lines().filter(done).map(str::to_owned).collect()
}

/// The old program went on with one thread, too. Another processor may add in another order: torch's
/// code without AVX instead of with AVX2 or AVX-512 changed losses by at most 8e-8 of their value.
#[test]
fn a_run_of_the_past_goes_on_as_it_did_then() {
    for (name, flags) in RUNS {
        let (_folder, text, run) = restored(name);
        let mut args = vec!["train", "--resume", "--json", "--steps", WENT_ON_TO];
        args.extend(["--data", &text, "--out", &run]);
        args.extend(SHARED.split_whitespace().chain(flags.iter().copied()));
        let now = reproduce(&args).json();
        let then = json(&fixture().join(format!("{name}-went-on.json")));
        let (losses_now, losses_then) = (losses(&now), losses(&then));
        assert_eq!(losses_now.len(), losses_then.len());
        // What the checkpoint holds, and what was done after it.
        assert_eq!(losses_now[..DONE], losses_then[..DONE], "{name}");
        for (step, (now, then)) in losses_now.iter().zip(&losses_then).enumerate() {
            assert!((now - then).abs() <= 1e-6 * then, "{name}, step {step}: {now} {then}");
        }
        let off = now["test_loss"].as_f64().unwrap() - then["test_loss"].as_f64().unwrap();
        assert!(off.abs() <= 1e-6, "{name}: {off:e}");
        // A run that began anew would say other speeds.
        let (kept, written) = (log(Path::new(&run)), log(&fixture().join(name)));
        assert_eq!(written.len(), 5);
        assert_eq!(kept, written, "{name}");
    }
}

#[test]
fn weights_of_the_past_have_the_loss_that_they_had() {
    for (name, _) in RUNS {
        let (_folder, text, run) = restored(name);
        let then = json(&Path::new(&run).join("results.json"));
        let now = reproduce(&["evaluate", "--checkpoint", &run, "--data", &text, "--json"]).json();
        let off = now["loss"].as_f64().unwrap() - then["test_loss"].as_f64().unwrap();
        assert!(off.abs() <= 1e-5, "{name}: {off:e}");
    }
}

#[test]
fn logs_of_the_past_are_drawn() {
    let out = tempfile::tempdir().unwrap();
    let runs = RUNS.map(|(name, _)| fixture().join(name).to_str().unwrap().to_owned());
    let args = ["plot", &runs[0], &runs[1], "--out", out.path().to_str().unwrap(), "--json"];
    let drawn = reproduce(&args).json();
    assert_eq!(drawn["curves"], 4);
    let svg = fs::read_to_string(out.path().join("training_curve.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("adam") && svg.contains("asgd"), "{svg}");
}

/// Each field of `old` is in `new`, with the same value.
fn check_kept(old: &Value, new: &Value, path: &str) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (field, value) in old {
                let path = format!("{path}.{field}");
                check_kept(
                    value,
                    new.get(field).unwrap_or_else(|| panic!("{path} is lost")),
                    &path,
                );
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            assert_eq!(old.len(), new.len(), "{path}");
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                check_kept(old, new, &format!("{path}[{i}]"));
            }
        }
        _ => assert_eq!(old, new, "{path}"),
    }
}

#[test]
fn a_table_of_the_past_becomes_the_page_that_it_was() {
    let written = json(&fixture().join("table.json"));
    let results: ReproduceResults = serde_json::from_value(written.clone()).unwrap();
    let out = tempfile::tempdir().unwrap();
    results.save(out.path()).unwrap();
    check_kept(&written, &json(&out.path().join("results.json")), "results");
    let page = fs::read_to_string(out.path().join("report.html")).unwrap();
    let measured = results.rows[0].measured.as_ref().unwrap();
    for figure in [results.rows[0].published.test_ppl, measured.test_ppl] {
        assert!(page.contains(&format!("{figure:.2}")), "{figure} is not in the page");
    }
    for plot in ["perplexity_vs_parameters.svg", "perplexity_vs_bptt.svg"] {
        assert!(fs::read_to_string(out.path().join(plot)).unwrap().starts_with("<svg"));
    }
}
