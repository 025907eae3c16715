//! Run folders: files are not overwritten unintentionally, and runs resume from incomplete folders.

use std::fs;
use std::path::Path;

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, reproduce};

const MODEL: &str = "--emsize 12 --nhid 24 --nlayers 2 --bptt 12 --batch-size 4 --splits none \
                     --lr 0.003 --checkpoint-every 10 --log-interval 5";

fn train(data: &Path, out: &str, flags: &str) -> Ran {
    let mut args = vec!["train", "--json", "--data", data.to_str().unwrap(), "--out", out];
    args.extend(MODEL.split_whitespace().chain(flags.split_whitespace()));
    reproduce(&args)
}

fn path_in(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

/// The lines of the log, all of which must be valid.
fn log(run: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(format!("{run}/metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// BUGS B3.
#[test]
fn a_run_overwrites_files_only_with_overwrite() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    for name in ["model.safetensors", "config.json", "metrics.jsonl", "results.json"] {
        let out = path_in(&folder, name);
        fs::create_dir(&out).unwrap();
        let file = format!("{out}/{name}");
        fs::write(&file, "{\"other\": 1}\n").unwrap();
        for flags in ["--steps 2", "--steps 2 --resume"] {
            let ran = train(data.path(), &out, flags);
            ran.is_refused(name);
            assert!(ran.stderr.contains(name), "{}", ran.stderr);
            assert_eq!(fs::read_to_string(&file).unwrap(), "{\"other\": 1}\n");
        }
        train(data.path(), &out, "--steps 2 --overwrite").succeeds();
    }
    // A run whose checkpoints were deleted to save disk space.
    let out = path_in(&folder, "model.safetensors");
    fs::remove_file(format!("{out}/checkpoint-2.safetensors")).unwrap();
    let weights = fs::read(format!("{out}/model.safetensors")).unwrap();
    train(data.path(), &out, "--steps 2").is_refused("no checkpoint");
    assert!(fs::read(format!("{out}/model.safetensors")).unwrap() == weights);
}

/// BUGS B4: a weight file needs no config.json; an existing lock file is not modified.
#[test]
fn a_weight_file_is_a_complete_model_in_any_folder() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = path_in(&folder, "run");
    fs::create_dir(&out).unwrap();
    fs::write(format!("{out}/lock"), "other").unwrap();
    train(data.path(), &out, "--steps 2").succeeds();
    assert_eq!(fs::read_to_string(format!("{out}/lock")).unwrap(), "other");
    let moved = path_in(&folder, "moved");
    fs::create_dir(&moved).unwrap();
    fs::write(format!("{moved}/config.json"), r#"{"architectures": ["GPT2"]}"#).unwrap();
    let weights = format!("{moved}/model.safetensors");
    fs::copy(format!("{out}/model.safetensors"), &weights).unwrap();
    let data_flags = ["--data", data.path().to_str().unwrap()];
    let evaluate = |of: &str| {
        reproduce(&[&["evaluate", "--json", "--checkpoint", of], &data_flags[..]].concat())
    };
    let (in_run, moved_only) = (evaluate(&out), evaluate(&weights));
    in_run.succeeds();
    moved_only.succeeds();
    let loss = |ran: &Ran| {
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        report["loss"].clone()
    };
    assert!(
        loss(&moved_only).is_number() && loss(&moved_only) == loss(&in_run),
        "{}",
        moved_only.stdout
    );
    reproduce(&["generate", "--checkpoint", &weights, "--words", "3"]).succeeds();
}

/// BUGS B3: a table overwrites the results.json of a table only.
#[test]
fn a_table_does_not_overwrite_a_training_run() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = path_in(&folder, "run");
    train(data.path(), &out, "--steps 2").succeeds();
    let results = fs::read_to_string(format!("{out}/results.json")).unwrap();
    let ran =
        reproduce(&["--rows", "300-1500-140", "--no-lengths", "--scale", "60", "--out", &out]);
    ran.is_refused("a training run's folder");
    assert_eq!(fs::read_to_string(format!("{out}/results.json")).unwrap(), results);
}

/// BUGS B3: the folder of a run that was killed before its first checkpoint.
#[test]
fn a_run_without_a_checkpoint_resumes_from_the_beginning() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = path_in(&folder, "run");
    let uninterrupted = train(data.path(), &out, "--steps 12").json();
    for entry in fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !["config.json", "metrics.jsonl"].contains(&name.as_str()) {
            fs::remove_file(path).unwrap();
        }
    }
    train(data.path(), &out, "--steps 12").is_refused("without --resume");
    train(data.path(), &out, "--steps 12 --resume --lr 0.1").is_refused("other settings");
    let ran = train(data.path(), &out, "--steps 12 --resume");
    assert!(ran.stderr.contains("holds no checkpoint: a new run starts"), "{}", ran.stderr);
    assert_eq!(ran.json()["losses"], uninterrupted["losses"]);
    assert_eq!(log(&out).iter().filter(|line| line["kind"] == "epoch").count(), 1);
}

/// Killed between the weights of its first epoch and its first checkpoint.
#[test]
fn weights_of_a_first_epoch_without_a_checkpoint_are_trained_again() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = path_in(&folder, "run");
    let expected = train(data.path(), &out, "--epochs 1").json();
    let remove = |kept: &[&str]| {
        for entry in fs::read_dir(&out).unwrap() {
            let path = entry.unwrap().path();
            if !kept.contains(&path.file_name().unwrap().to_str().unwrap()) {
                fs::remove_file(path).unwrap();
            }
        }
    };
    let log = fs::read_to_string(format!("{out}/metrics.jsonl")).unwrap();
    let kept = ["config.json", "metrics.jsonl", "model.safetensors"];
    remove(&kept);
    // The log says that the run was finished: its weights are a result.
    train(data.path(), &out, "--epochs 1 --resume").is_refused("a finished model");
    let without_test: Vec<&str> = log.lines().filter(|line| !line.contains("\"test\"")).collect();
    fs::write(format!("{out}/metrics.jsonl"), without_test.join("\n") + "\n").unwrap();
    train(data.path(), &out, "--epochs 1 --resume --seed 9").is_refused("another run's weights");
    let resumed = train(data.path(), &out, "--epochs 1 --resume").json();
    assert_eq!(resumed["test_loss"], expected["test_loss"]);
}

/// BUGS B4.
#[test]
fn a_run_resumes_from_only_a_checkpoint() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let (uninterrupted, out) = (path_in(&folder, "whole"), path_in(&folder, "out"));
    let expected = train(data.path(), &uninterrupted, "--epochs 3").json();
    let first = train(data.path(), &out, "--epochs 2").json();
    let newest = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    let newest = newest
        .filter(|path| path.to_str().unwrap().contains("checkpoint-"))
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap())
        .unwrap();

    // Without the log, and with nothing but the checkpoint.
    for files in [&["model.safetensors", "config.json"][..], &[]] {
        let moved = path_in(&folder, &format!("moved-{}", files.len()));
        fs::create_dir(&moved).unwrap();
        fs::copy(&newest, Path::new(&moved).join(newest.file_name().unwrap())).unwrap();
        for name in files {
            fs::copy(format!("{out}/{name}"), format!("{moved}/{name}")).unwrap();
        }
        let ran = train(data.path(), &moved, "--epochs 3 --resume");
        let resumed = ran.json();
        assert!(ran.stderr.contains("metrics.jsonl is missing, or"), "{}", ran.stderr);
        assert_eq!(resumed["epochs"][2]["train_loss"], expected["epochs"][2]["train_loss"]);
        assert_eq!(resumed["epochs"][0], first["epochs"][0]);
        assert_eq!(ran.stderr.contains("best weights so far"), files.is_empty(), "{}", ran.stderr);
        // The log has all epochs and can be plotted.
        let epochs: Vec<_> =
            log(&moved).into_iter().filter(|line| line["kind"] == "epoch").collect();
        assert_eq!(epochs.len(), 3);
        reproduce(&["plot", &moved, "--out", &moved]).succeeds();
    }
}

/// BUGS B4.
#[test]
fn weights_of_another_run_are_refused() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let (out, other) = (path_in(&folder, "out"), path_in(&folder, "other"));
    train(data.path(), &out, "--epochs 1").succeeds();
    train(data.path(), &other, "--epochs 1 --seed 7").succeeds();
    fs::copy(format!("{other}/model.safetensors"), format!("{out}/model.safetensors")).unwrap();
    let ran = train(data.path(), &out, "--epochs 2 --resume");
    ran.is_refused("another run's weights");
    assert!(ran.stderr.contains("of another run"), "{}", ran.stderr);
    // The remedy of the message.
    fs::remove_file(format!("{out}/model.safetensors")).unwrap();
    train(data.path(), &out, "--epochs 2 --resume").succeeds();
}

/// The arguments that a message suggests in backticks.
fn suggested_args(ran: &Ran) -> Vec<Vec<String>> {
    let quoted = ran.stderr.split('`').skip(1).step_by(2);
    quoted.map(|text| text.split_whitespace().map(str::to_owned).collect()).collect()
}

/// BUGS B6.
#[test]
fn the_remedies_after_a_divergence_work() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = path_in(&folder, "diverged");
    // These steps do not diverge.
    train(data.path(), &out, "--steps 11 --clip 0 --optimizer sgd --lr 1e-3").succeeds();
    let checkpoint = format!("{out}/checkpoint-11.safetensors");
    let bad = path_in(&folder, "bad");
    let ran = train(
        data.path(),
        &bad,
        "--optimizer sgd --clip 0 --lr 1e5 --checkpoint-every 3 --epochs 3",
    );
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("diverged at step"), "{}", ran.stderr);
    let suggestions = suggested_args(&ran);
    assert!(
        suggestions.iter().any(|args| args[0] == "--init" || args[0] == "--overwrite"),
        "{suggestions:?}"
    );
    for (i, args) in suggestions.into_iter().enumerate() {
        let args = args.join(" ");
        let out =
            if args == "--overwrite" { bad.clone() } else { path_in(&folder, &format!("{i}")) };
        train(data.path(), &out, &format!("--steps 2 --lr 1e-3 {args}")).succeeds();
    }
    // Every command with a model flag accepts a checkpoint.
    for model in [&checkpoint, &out] {
        let data = data.path().to_str().unwrap();
        reproduce(&["evaluate", "--checkpoint", model, "--data", data]).succeeds();
        reproduce(&["generate", "--checkpoint", model, "--words", "3"]).succeeds();
        let out = path_in(&folder, &format!("fine-{}", model.len()));
        train(Path::new(data), &out, &format!("--steps 2 --finetune {model}")).succeeds();
    }
}

/// BUGS B6: before the end of the first epoch, only checkpoints have weights.
#[test]
fn a_run_in_its_first_epoch_can_be_evaluated() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = path_in(&folder, "run");
    train(data.path(), &out, "--steps 12").succeeds();
    fs::remove_file(format!("{out}/model.safetensors")).unwrap();
    let data = data.path().to_str().unwrap();
    let ran = reproduce(&["evaluate", "--checkpoint", &out, "--data", data]);
    ran.succeeds();
    assert!(ran.stderr.contains("after step 12"), "{}", ran.stderr);
}

#[test]
fn the_remedies_for_an_existing_run_work() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = path_in(&folder, "run");
    train(data.path(), &out, "--steps 2").succeeds();
    let ran = train(data.path(), &out, "--steps 4");
    let suggestions = suggested_args(&ran);
    assert_eq!(suggestions, [["--resume"], ["--overwrite"]]);
    for args in suggestions {
        train(data.path(), &out, &format!("--steps 4 {}", args.join(" "))).succeeds();
    }
}
