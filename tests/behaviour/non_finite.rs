//! Perplexities that no number of the computer holds: runs that have them go on, and are drawn.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, reproduce};

/// An embedding so large that losses are thousands of nats, at a rate that leaves them there.
const HUGE: &str = "train --emsize 12 --nhid 24 --nlayers 2 --bptt 12 --batch-size 4 --splits none \
                    --init-range 50000 --lr 1e-9 --log-interval 5 --checkpoint-every 20";

fn train(data: &Path, out: &Path, more: &[&str]) -> Ran {
    let mut args: Vec<&str> = HUGE.split_whitespace().collect();
    args.extend(["--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    args.extend(more);
    reproduce(&args)
}

/// What the epochs came to, but for their times.
fn epochs(run: &Value) -> Vec<Value> {
    let mut epochs = run["epochs"].as_array().unwrap().clone();
    epochs.iter_mut().for_each(|epoch| epoch["seconds"] = Value::Null);
    epochs
}

#[test]
fn a_run_with_an_infinite_perplexity_goes_on_as_if_it_had_never_stopped() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
    let undisturbed = train(data.path(), &whole, &["--epochs", "3", "--json"]).json();
    let first = train(data.path(), &stopped, &["--epochs", "1"]);
    first.succeeds();
    // A power of ten, in place of hundreds of digits or none.
    let line = first.stdout.lines().find(|line| line.starts_with("epoch")).unwrap();
    let shown = line.rsplit(' ').next().unwrap();
    assert!(shown.contains('e') && shown.len() < 10, "{line}");

    let resumed = train(data.path(), &stopped, &["--epochs", "3", "--resume", "--json"]).json();
    assert_eq!(epochs(&resumed), epochs(&undisturbed));
    assert_eq!(resumed["test_loss"], undisturbed["test_loss"]);
    let last = &resumed["epochs"][2];
    assert!(last["valid_ppl"].is_null() && last["valid_loss"].as_f64().unwrap() > 710.0, "{last}");
    assert!(resumed["test_ppl"].is_null() && resumed["test_loss"].as_f64().is_some());
    let results: Value =
        serde_json::from_slice(&fs::read(stopped.join("results.json")).unwrap()).unwrap();
    assert_eq!(results, resumed);

    let [whole, stopped] = [&whole, &stopped].map(|run| run.to_str().unwrap());
    let out = folder.path().join("plots");
    reproduce(&["plot", whole, stopped, "--out", out.to_str().unwrap(), "--json"]).json();
    let args = ["evaluate", "--checkpoint", stopped, "--data", data.path().to_str().unwrap()];
    let evaluated = reproduce(&args);
    evaluated.succeeds();
    assert!(!evaluated.stdout.contains("inf"), "{}", evaluated.stdout);
    assert!(reproduce(&[&args[..], &["--json"]].concat()).json()["ppl"].is_null());
}

/// As an earlier version writes it where a loss itself is infinite.
#[test]
fn a_log_with_null_in_it_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let epoch = |epoch: u64, loss: &str, ppl: &str| {
        format!(
            "{{\"kind\":\"steps\",\"step\":{},\"epoch\":{epoch},\"loss\":2.0,\"rate\":0.001,\
             \"tokens_per_second\":100.0}}\n{{\"kind\":\"epoch\",\"epoch\":{epoch},\
             \"train_loss\":2.0,\"valid_loss\":{loss},\"valid_ppl\":{ppl},\"seconds\":1.0}}\n",
            20 * epoch
        )
    };
    let log = [("2.5", "12.18"), ("null", "null"), ("800.0", "null"), ("2.25", "null")];
    let log: String = log.iter().zip(1..).map(|((loss, ppl), i)| epoch(i, loss, ppl)).collect();
    let test = "{\"kind\":\"test\",\"loss\":null,\"ppl\":null}\n";
    fs::write(folder.path().join("metrics.jsonl"), log + test).unwrap();
    let run = folder.path().to_str().unwrap();
    let drawn = reproduce(&["plot", run, "--out", run, "--json"]).json();
    assert_eq!(drawn["curves"], 2);
}
