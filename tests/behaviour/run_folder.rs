//! A run's folder: nothing in it is lost, and it goes on from what is left of it.

use std::fs;
use std::path::Path;

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, reproduce};

const MODEL: &str = "--emsize 12 --nhid 24 --nlayers 2 --bptt 12 --batch-size 4 --splits none \
                     --lr 0.003 --checkpoint-every 10 --log-interval 5";

fn train(data: &Path, out: &str, more: &str) -> Ran {
    let mut args = vec!["train", "--json", "--data", data.to_str().unwrap(), "--out", out];
    args.extend(MODEL.split_whitespace().chain(more.split_whitespace()));
    reproduce(&args)
}

fn inside(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

/// The log's lines, all of them whole.
fn log(run: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(format!("{run}/metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// BUGS B3.
#[test]
fn a_run_replaces_nothing_that_it_was_not_told_to() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    for name in ["model.safetensors", "config.json", "metrics.jsonl", "results.json"] {
        let out = inside(&folder, name);
        fs::create_dir(&out).unwrap();
        let file = format!("{out}/{name}");
        fs::write(&file, "{\"somebody's\": 1}\n").unwrap();
        for more in ["--steps 2", "--steps 2 --resume"] {
            let ran = train(data.path(), &out, more);
            ran.is_refused(name);
            assert!(ran.stderr.contains(name), "{}", ran.stderr);
            assert_eq!(fs::read_to_string(&file).unwrap(), "{\"somebody's\": 1}\n");
        }
        train(data.path(), &out, "--steps 2 --overwrite").succeeds();
    }
    // A run whose checkpoints were deleted to save room.
    let out = inside(&folder, "model.safetensors");
    fs::remove_file(format!("{out}/checkpoint-2.safetensors")).unwrap();
    let weights = fs::read(format!("{out}/model.safetensors")).unwrap();
    train(data.path(), &out, "--steps 2").is_refused("no checkpoint");
    assert!(fs::read(format!("{out}/model.safetensors")).unwrap() == weights);
}

/// BUGS B4: weights say all of themselves, whatever lies beside them; a lock is locked, not written.
#[test]
fn a_weight_file_is_a_whole_model_wherever_it_lies() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = inside(&folder, "run");
    fs::create_dir(&out).unwrap();
    fs::write(format!("{out}/lock"), "somebody's").unwrap();
    train(data.path(), &out, "--steps 2").succeeds();
    assert_eq!(fs::read_to_string(format!("{out}/lock")).unwrap(), "somebody's");
    let moved = inside(&folder, "moved");
    fs::create_dir(&moved).unwrap();
    fs::write(format!("{moved}/config.json"), r#"{"architectures": ["GPT2"]}"#).unwrap();
    let weights = format!("{moved}/model.safetensors");
    fs::copy(format!("{out}/model.safetensors"), &weights).unwrap();
    let data_flags = ["--data", data.path().to_str().unwrap()];
    let evaluate = |of: &str| {
        reproduce(&[&["evaluate", "--json", "--checkpoint", of], &data_flags[..]].concat())
    };
    let (there, here) = (evaluate(&out), evaluate(&weights));
    there.succeeds();
    here.succeeds();
    let test = |ran: &Ran| {
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        report["loss"].clone()
    };
    assert!(test(&here).is_number() && test(&here) == test(&there), "{}", here.stdout);
    reproduce(&["generate", "--checkpoint", &weights, "--words", "3"]).succeeds();
}

/// BUGS B3: a table's results.json takes its own place again, and no other's.
#[test]
fn a_table_replaces_no_training_run() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = inside(&folder, "run");
    train(data.path(), &out, "--steps 2").succeeds();
    let results = fs::read_to_string(format!("{out}/results.json")).unwrap();
    let ran =
        reproduce(&["--rows", "300-1500-140", "--no-lengths", "--scale", "60", "--out", &out]);
    ran.is_refused("a training run's folder");
    assert_eq!(fs::read_to_string(format!("{out}/results.json")).unwrap(), results);
}

/// BUGS B3: as a run leaves it that was killed before its first checkpoint.
#[test]
fn a_run_that_was_only_begun_begins_anew() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = inside(&folder, "run");
    let whole = train(data.path(), &out, "--steps 12").json();
    for entry in fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !["config.json", "metrics.jsonl"].contains(&name.as_str()) {
            fs::remove_file(path).unwrap();
        }
    }
    train(data.path(), &out, "--steps 12").is_refused("without --resume");
    train(data.path(), &out, "--steps 12 --resume --lr 0.1").is_refused("other settings");
    let again = train(data.path(), &out, "--steps 12 --resume").json();
    assert_eq!(again["losses"], whole["losses"]);
    assert_eq!(log(&out).iter().filter(|line| line["kind"] == "epoch").count(), 1);
}

/// BUGS B4.
#[test]
fn a_run_goes_on_from_a_checkpoint_alone() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let (whole, out) = (inside(&folder, "whole"), inside(&folder, "out"));
    let undisturbed = train(data.path(), &whole, "--epochs 3").json();
    let first = train(data.path(), &out, "--epochs 2").json();
    let newest = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    let newest = newest
        .filter(|path| path.to_str().unwrap().contains("checkpoint-"))
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap())
        .unwrap();

    // Without the log, and without anything but the checkpoint.
    for kept in [&["model.safetensors", "config.json"][..], &[]] {
        let moved = inside(&folder, &format!("moved-{}", kept.len()));
        fs::create_dir(&moved).unwrap();
        fs::copy(&newest, Path::new(&moved).join(newest.file_name().unwrap())).unwrap();
        for name in kept {
            fs::copy(format!("{out}/{name}"), format!("{moved}/{name}")).unwrap();
        }
        let ran = train(data.path(), &moved, "--epochs 3 --resume");
        let went_on = ran.json();
        assert_eq!(went_on["epochs"][2]["train_loss"], undisturbed["epochs"][2]["train_loss"]);
        assert_eq!(went_on["epochs"][0], first["epochs"][0]);
        assert_eq!(ran.stderr.contains("best weights so far"), kept.is_empty(), "{}", ran.stderr);
        // All epochs are in the log, which is drawn.
        let epochs: Vec<_> =
            log(&moved).into_iter().filter(|line| line["kind"] == "epoch").collect();
        assert_eq!(epochs.len(), 3);
        reproduce(&["plot", &moved, "--out", &moved]).succeeds();
    }
}

/// BUGS B4.
#[test]
fn weights_of_another_run_are_noticed() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let (out, other) = (inside(&folder, "out"), inside(&folder, "other"));
    train(data.path(), &out, "--epochs 1").succeeds();
    train(data.path(), &other, "--epochs 1 --seed 7").succeeds();
    fs::copy(format!("{other}/model.safetensors"), format!("{out}/model.safetensors")).unwrap();
    let ran = train(data.path(), &out, "--epochs 2 --resume");
    ran.is_refused("another run's weights");
    assert!(ran.stderr.contains("of another run"), "{}", ran.stderr);
    // As the message says.
    fs::remove_file(format!("{out}/model.safetensors")).unwrap();
    train(data.path(), &out, "--epochs 2 --resume").succeeds();
}

/// What stands in backticks in a message is to be typed as it stands: the arguments.
fn advised(ran: &Ran) -> Vec<Vec<String>> {
    let pieces = ran.stderr.split('`').skip(1).step_by(2);
    pieces.map(|piece| piece.split_whitespace().map(str::to_owned).collect()).collect()
}

/// BUGS B6: after a divergence the model can be taken up again as the message says.
#[test]
fn what_a_message_advises_after_a_divergence_works() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = inside(&folder, "diverged");
    // Its first steps are good ones.
    train(data.path(), &out, "--steps 11 --clip 0 --optimizer sgd --lr 1e-3").succeeds();
    let checkpoint = format!("{out}/checkpoint-11.safetensors");
    let bad = inside(&folder, "bad");
    let ran = train(
        data.path(),
        &bad,
        "--optimizer sgd --clip 0 --lr 1e5 --checkpoint-every 3 --epochs 3",
    );
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("diverged at step"), "{}", ran.stderr);
    let advice = advised(&ran);
    assert!(
        advice.iter().any(|args| args[0] == "--init" || args[0] == "--overwrite"),
        "{advice:?}"
    );
    for (i, args) in advice.into_iter().enumerate() {
        let args = args.join(" ");
        let out =
            if args == "--overwrite" { bad.clone() } else { inside(&folder, &format!("{i}")) };
        train(data.path(), &out, &format!("--steps 2 --lr 1e-3 {args}")).succeeds();
    }
    // A checkpoint is a model to every command that takes one.
    for model in [&checkpoint, &out] {
        let data = data.path().to_str().unwrap();
        reproduce(&["evaluate", "--checkpoint", model, "--data", data]).succeeds();
        reproduce(&["generate", "--checkpoint", model, "--words", "3"]).succeeds();
        let out = inside(&folder, &format!("fine-{}", model.len()));
        train(Path::new(data), &out, &format!("--steps 2 --finetune {model}")).succeeds();
    }
}

/// BUGS B6: before an epoch has ended, a run's folder has no weights but those of its checkpoints.
#[test]
fn a_run_in_its_first_epoch_can_be_evaluated() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = inside(&folder, "run");
    train(data.path(), &out, "--steps 12").succeeds();
    fs::remove_file(format!("{out}/model.safetensors")).unwrap();
    let data = data.path().to_str().unwrap();
    let ran = reproduce(&["evaluate", "--checkpoint", &out, "--data", data]);
    ran.succeeds();
    assert!(ran.stderr.contains("after step 12"), "{}", ran.stderr);
}

/// Each message of a refused call names what to type, and that works.
#[test]
fn what_a_message_advises_where_a_folder_holds_a_run_works() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = inside(&folder, "run");
    train(data.path(), &out, "--steps 2").succeeds();
    let ran = train(data.path(), &out, "--steps 4");
    let advice = advised(&ran);
    assert_eq!(advice, [["--resume"], ["--overwrite"]]);
    for args in advice {
        train(data.path(), &out, &format!("--steps 4 {}", args.join(" "))).succeeds();
    }
}
