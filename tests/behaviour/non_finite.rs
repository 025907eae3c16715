//! Infinite perplexities: such runs continue, resume and are plotted.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command_line::{small_text, text_folder};
use crate::program::{Ran, reproduce};

/// A huge initial embedding gives losses of thousands of nats; the tiny learning rate keeps them there.
const HUGE: &str = "train --emsize 12 --nhid 24 --nlayers 2 --bptt 12 --batch-size 4 --splits none \
                    --init-range 50000 --lr 1e-9 --log-interval 5 --checkpoint-every 20";

fn train(data: &Path, out: &Path, flags: &[&str]) -> Ran {
    let mut args: Vec<&str> = HUGE.split_whitespace().collect();
    args.extend(["--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    args.extend(flags);
    reproduce(&args)
}

/// Results of the epochs without their times.
fn epochs(run: &Value) -> Vec<Value> {
    let mut epochs = run["epochs"].as_array().unwrap().clone();
    epochs.iter_mut().for_each(|epoch| epoch["seconds"] = Value::Null);
    epochs
}

#[test]
fn a_run_with_an_infinite_perplexity_resumes_exactly() {
    let (data, folder) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let [uninterrupted, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
    let expected = train(data.path(), &uninterrupted, &["--epochs", "3", "--json"]).json();
    let first = train(data.path(), &stopped, &["--epochs", "1"]);
    first.succeeds();
    // Shown as a power of ten.
    let line = first.stdout.lines().find(|line| line.starts_with("epoch")).unwrap();
    let shown = line.rsplit(' ').next().unwrap();
    assert!(shown.contains('e') && shown.len() < 10, "{line}");

    let resumed = train(data.path(), &stopped, &["--epochs", "3", "--resume", "--json"]).json();
    assert_eq!(epochs(&resumed), epochs(&expected));
    assert_eq!(resumed["test_loss"], expected["test_loss"]);
    let last = &resumed["epochs"][2];
    assert!(last["valid_ppl"].is_null() && last["valid_loss"].as_f64().unwrap() > 710.0, "{last}");
    assert!(resumed["test_ppl"].is_null() && resumed["test_loss"].as_f64().is_some());
    let results: Value =
        serde_json::from_slice(&fs::read(stopped.join("results.json")).unwrap()).unwrap();
    assert_eq!(results, resumed);

    let [uninterrupted, stopped] = [&uninterrupted, &stopped].map(|run| run.to_str().unwrap());
    let out = folder.path().join("plots");
    reproduce(&["plot", uninterrupted, stopped, "--out", out.to_str().unwrap(), "--json"]).json();
    let args = ["evaluate", "--checkpoint", stopped, "--data", data.path().to_str().unwrap()];
    let evaluated = reproduce(&args);
    evaluated.succeeds();
    assert!(!evaluated.stdout.contains("inf"), "{}", evaluated.stdout);
    assert!(reproduce(&[&args[..], &["--json"]].concat()).json()["ppl"].is_null());
}

/// Earlier versions write null for an infinite loss.
#[test]
fn a_log_with_null_values_is_plotted() {
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
    let plotted = reproduce(&["plot", run, "--out", run, "--json"]).json();
    assert_eq!(plotted["curves"], 2);
}
