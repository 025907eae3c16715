//! Compares losses with those of an independent PyTorch implementation, `tests/parity/reference.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use qrnn::model::{DropoutMasks, LayerMasks};
use qrnn::prelude::*;
use serde_json::Value;

use crate::program::reproduce;

const SPLITS: &str = "20,35,50";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(name)
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(file("expected.json")).unwrap()).unwrap()
}

/// Trains 20 steps from the weights of the fixture.
fn train(flags: &[&str]) -> Value {
    let (data, init, out) = (file("text"), file("init.safetensors"), tempfile::tempdir().unwrap());
    let mut args = vec!["train", "--fixed-bptt", "--json", "--steps", "20"];
    let paths = [data.as_path(), &init, out.path()].map(|path| path.to_str().unwrap());
    args.extend(["--data", paths[0], "--init", paths[1], "--out", paths[2]]);
    args.extend(["--emsize", "8", "--nhid", "12", "--nlayers", "4", "--bptt", "7"]);
    args.extend(["--batch-size", "3", "--device", "cpu"]);
    args.extend(["--dropout", "0", "--dropouth", "0", "--dropouti", "0"]);
    args.extend(flags);
    reproduce(&args).json()
}

/// Compares the losses of a case with PyTorch's, and returns the JSON of the run.
fn check_losses(case: &str, flags: &[&str]) -> Value {
    let expected: Vec<f64> = serde_json::from_value(expected()["train"][case].clone()).unwrap();
    let run = train(flags);
    let ours: Vec<f64> = serde_json::from_value(run["losses"].clone()).unwrap();
    assert_eq!(ours.len(), expected.len());
    for (step, (ours, reference)) in ours.iter().zip(&expected).enumerate() {
        let difference = (ours - reference).abs();
        assert!(difference <= 1e-4, "{case}, step {step}: {ours} and {reference}");
    }
    run
}

#[test]
fn adam() {
    check_losses("adam", &["--splits", SPLITS, "--lr", "0.01", "--clip", "0"]);
    check_losses("adam_plain_softmax", &["--splits", "none", "--lr", "0.01", "--clip", "0"]);
}

#[test]
fn sgd_and_averaged_sgd() {
    let flags = ["--splits", SPLITS, "--lr", "1", "--clip", "0.25", "--optimizer"];
    check_losses("sgd", &[&flags[..], &["sgd"]].concat());
    let run = check_losses("averaged_sgd", &[&flags[..], &["asgd"]].concat());
    // Validation uses the averaged weights.
    let ours = run["epochs"][0]["valid_loss"].as_f64().unwrap();
    let reference = expected()["averaged_valid_loss"].as_f64().unwrap();
    assert!((ours - reference).abs() <= 1e-4, "{ours} and {reference}");
}

#[test]
fn gradient_clip_and_weight_decay() {
    check_losses("adam_clipped", &["--splits", SPLITS, "--lr", "0.01", "--clip", "0.05"]);
    check_losses(
        "adam_decayed",
        &["--splits", SPLITS, "--lr", "0.01", "--clip", "0", "--wdecay", "0.01"],
    );
}

#[test]
fn alpha_and_beta() {
    let flags = ["--splits", SPLITS, "--lr", "0.01", "--clip", "0", "--alpha", "2", "--beta", "1"];
    check_losses("adam_regularised", &flags);
}

#[test]
fn evaluation_of_files_with_either_tensor_names() {
    for weights in ["init.safetensors", "weight_drop.safetensors"] {
        for (name, splits) in [("split", SPLITS), ("plain", "none")] {
            for split in ["valid", "test"] {
                let (weights, data) = (file(weights), file("text"));
                let mut args = vec!["evaluate", "--json", "--splits", splits, "--split", split];
                args.extend(["--checkpoint", weights.to_str().unwrap(), "--bptt", "7"]);
                args.extend(["--data", data.to_str().unwrap()]);
                let ours = reproduce(&args).json();
                for field in ["loss", "reference_loss"] {
                    let reference = expected()["evaluate"][name][split][field].as_f64().unwrap();
                    let ours = ours[field].as_f64().unwrap();
                    let relative = ((ours - reference) / reference).abs();
                    assert!(relative <= 1e-5, "{name} {split} {field}: {ours} and {reference}");
                }
            }
        }
    }
}

#[test]
fn missing_splits_are_not_guessed() {
    let (weights, data) = (file("init.safetensors"), file("text"));
    let paths = [&weights, &data].map(|path| path.to_str().unwrap());
    let ran = reproduce(&["evaluate", "--checkpoint", paths[0], "--data", paths[1]]);
    ran.is_refused("splits left out");
    assert!(ran.stderr.contains("--splits"), "{}", ran.stderr);
}

/// Losses and gradient norms of two sequences with the masks of the fixture: weight drop, zoneout, locked
/// dropout and word dropout.
#[test]
fn losses_and_gradients_with_fixed_dropout_masks() {
    let masks: HashMap<String, Tensor> =
        Tensor::read_safetensors(file("masks.safetensors")).unwrap().into_iter().collect();
    let mask = |name: String| Some(masks[&name].shallow_clone());
    let masks = DropoutMasks {
        words: mask("words".into()),
        input: mask("input".into()),
        layers: (0..4)
            .map(|i| LayerMasks {
                weight: mask(format!("layers.{i}.weight")),
                zoneout: mask(format!("layers.{i}.zoneout")),
                output: mask(format!("layers.{i}.output")),
            })
            .collect(),
    };
    let settings = LmConfig::paper(8, 12).splits(SPLITS.parse().unwrap());
    let model = QrnnLm::from_file(file("init.safetensors"), &settings, Device::Cpu).unwrap();
    let corpus = Corpus::from_text(file("text")).unwrap();
    let stream: Vec<i64> = corpus.tokens(Split::Train).iter().map(|id| i64::from(*id)).collect();
    let rows = stream.len() / 3;
    let batches = Tensor::from_slice(&stream[..3 * rows]).view([3, rows as i64]).tr();

    let expected = &expected()["masked"];
    let mut state = model.zero_state(3).unwrap();
    let mut sum = Tensor::zeros([], (Kind::Float, Device::Cpu));
    for sequence in 0..2 {
        let inputs = batches.narrow(0, 7 * sequence, 7).contiguous();
        let targets = batches.narrow(0, 7 * sequence + 1, 7).contiguous().view(-1);
        let targets = Vec::<i64>::try_from(targets).unwrap();
        let forward = model.forward(&inputs, &state, Some(&masks)).unwrap();
        let loss = model.loss(&forward.output, &targets).unwrap();
        let expected_loss = expected["losses"][sequence as usize].as_f64().unwrap();
        let difference = (loss.double_value(&[]) - expected_loss).abs();
        assert!(difference <= 1e-4, "sequence {sequence}: {loss:?} and {expected_loss}");
        sum += loss;
        state = forward.state;
    }
    let parameters = model.parameters();
    let tensors: Vec<&Tensor> = parameters.iter().map(|(_, tensor)| *tensor).collect();
    let gradients = Tensor::run_backward(&[&sum], &tensors, false, false);
    for ((name, _), gradient) in parameters.iter().zip(gradients) {
        let ours = gradient.norm().double_value(&[]);
        let norm = expected["gradient_norms"][name].as_f64().unwrap();
        assert!(((ours - norm) / norm).abs() <= 1e-4, "{name}: {ours} and {norm}");
    }
}
