//! Our figures against those of an independent PyTorch model: see `parity/reference.py`.

use std::path::{Path, PathBuf};

use crate::program::reproduce;
use serde_json::Value;

const SPLITS: &str = "20,35,50";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(name)
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(file("expected.json")).unwrap()).unwrap()
}

/// What 20 steps from the fixture's weights come to.
fn train(more: &[&str]) -> Value {
    let (data, init, out) = (file("text"), file("init.safetensors"), tempfile::tempdir().unwrap());
    let mut args = vec!["train", "--fixed-bptt", "--json", "--steps", "20"];
    let paths = [data.as_path(), &init, out.path()].map(|path| path.to_str().unwrap());
    args.extend(["--data", paths[0], "--init", paths[1], "--out", paths[2]]);
    args.extend(["--emsize", "8", "--nhid", "12", "--nlayers", "4", "--bptt", "7"]);
    args.extend(["--batch-size", "3", "--device", "cpu", "--precision", "fp32"]);
    args.extend(["--dropout", "0", "--dropouth", "0", "--dropouti", "0"]);
    args.extend(more);
    reproduce(&args).json()
}

/// Holds the losses of a case, and returns the whole run.
fn hold(case: &str, more: &[&str]) -> Value {
    let expected: Vec<f64> = serde_json::from_value(expected()["train"][case].clone()).unwrap();
    let run = train(more);
    let ours: Vec<f64> = serde_json::from_value(run["losses"].clone()).unwrap();
    assert_eq!(ours.len(), expected.len());
    for (step, (ours, theirs)) in ours.iter().zip(&expected).enumerate() {
        let difference = (ours - theirs).abs();
        assert!(difference <= 1e-4, "{case}, step {step}: {ours} and {theirs}");
    }
    run
}

#[test]
fn adam() {
    hold("adam", &["--splits", SPLITS, "--lr", "0.01", "--clip", "0"]);
    hold("adam_plain_softmax", &["--splits", "none", "--lr", "0.01", "--clip", "0"]);
}

#[test]
fn descent_plain_and_averaged() {
    let more = ["--splits", SPLITS, "--lr", "1", "--clip", "0.25", "--optimizer"];
    hold("sgd", &[&more[..], &["sgd"]].concat());
    let run = hold("averaged_sgd", &[&more[..], &["asgd"]].concat());
    // What is judged is the mean of the weights, not the last ones.
    let ours = run["epochs"][0]["valid_loss"].as_f64().unwrap();
    let theirs = expected()["averaged_valid_loss"].as_f64().unwrap();
    assert!((ours - theirs).abs() <= 1e-4, "{ours} and {theirs}");
}

#[test]
fn gradient_clip_and_weight_decay() {
    hold("adam_clipped", &["--splits", SPLITS, "--lr", "0.01", "--clip", "0.05"]);
    hold("adam_decayed", &["--splits", SPLITS, "--lr", "0.01", "--clip", "0", "--wdecay", "0.01"]);
}

#[test]
fn alpha_and_beta() {
    let more = ["--splits", SPLITS, "--lr", "0.01", "--clip", "0", "--alpha", "2", "--beta", "1"];
    hold("adam_regularised", &more);
}

#[test]
fn evaluation_with_windows_carried_and_files_under_either_name() {
    for weights in ["init.safetensors", "weight_drop.safetensors"] {
        for (name, splits) in [("split", SPLITS), ("plain", "none")] {
            for split in ["valid", "test"] {
                let (weights, data) = (file(weights), file("text"));
                let mut args = vec!["evaluate", "--json", "--splits", splits, "--split", split];
                args.extend(["--checkpoint", weights.to_str().unwrap(), "--bptt", "7"]);
                args.extend(["--data", data.to_str().unwrap()]);
                let ours = reproduce(&args).json();
                for field in ["loss", "reference_loss"] {
                    let theirs = expected()["evaluate"][name][split][field].as_f64().unwrap();
                    let ours = ours[field].as_f64().unwrap();
                    let relative = ((ours - theirs) / theirs).abs();
                    assert!(relative <= 1e-5, "{name} {split} {field}: {ours} and {theirs}");
                }
            }
        }
    }
}

#[test]
fn splits_that_nobody_named_are_not_guessed() {
    let (weights, data) = (file("init.safetensors"), file("text"));
    let paths = [&weights, &data].map(|path| path.to_str().unwrap());
    let ran = reproduce(&["evaluate", "--checkpoint", paths[0], "--data", paths[1]]);
    ran.is_refused("splits left out");
    assert!(ran.stderr.contains("--splits"), "{}", ran.stderr);
}
