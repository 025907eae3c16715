//! Presets, finetuning, logs and plots of runs, memory limits and the token cache.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::reproduce;

/// Flags of a small model, which override those of a preset.
const SMALL: [&str; 10] =
    ["--emsize", "12", "--nhid", "16", "--bptt", "20", "--batch-size", "20", "--nlayers", "2"];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn presets_expand_to_flags_and_finetuning_keeps_the_better_model() {
    let folder = tempfile::tempdir().unwrap();
    let (base, tuned) = (folder.path().join("base"), folder.path().join("tuned"));
    let flags = ["--steps", "30", "--lr", "5", "--json"];
    let args = ["train", "--preset", "wikitext-2", "--out", text(&base)];
    reproduce(&[&args[..], &SMALL, &flags].concat()).json();
    let config = json_file(&base.join("config.json"));
    for (section, field, value) in [
        ("recipe", "optimizer", Value::from("sgd")),
        ("recipe", "alpha", 2.0.into()),
        ("recipe", "beta", 1.0.into()),
        ("recipe", "wdecay", 1.2e-6.into()),
        ("recipe", "clip", 0.25.into()),
        ("recipe", "when", Value::Array(vec![])),
        ("recipe", "epochs", 500.into()),
        ("recipe", "seed", 4002.into()),
        ("recipe", "lr", 5.0.into()),
        ("recipe", "batch", 20.into()),
        ("model", "dropouti", 0.4.into()),
        ("model", "dropouth", 0.2.into()),
        ("model", "dropoute", 0.1.into()),
        ("model", "wdrop", 0.1.into()),
        ("model", "emsize", 12.into()),
    ] {
        assert_eq!(config[section][field], value, "{section} {field}");
    }

    // This learning rate makes the model worse, so that the initial model stays the best. Without clipping,
    // the loss might become NaN.
    let weights = base.join("model.safetensors");
    let args = ["train", "--preset", "penn-treebank-finetune", "--finetune", text(&weights)];
    let flags = ["--out", text(&tuned), "--steps", "20", "--lr", "1000", "--json"];
    let run = reproduce(&[&args[..], &SMALL, &flags].concat()).json();
    assert_eq!(json_file(&tuned.join("config.json"))["recipe"]["optimizer"], "asgd");
    let base_loss = json_file(&base.join("results.json"))["test_loss"].as_f64().unwrap();
    assert!(run["epochs"][0]["valid_loss"].as_f64().unwrap() > base_loss + 0.5, "{run}");
    assert!((run["test_loss"].as_f64().unwrap() - base_loss).abs() < 1e-9, "{run}");

    let ran = reproduce(&["train", "--preset", "penn-treebank-finetune"]);
    ran.is_refused("finetuning without a model");
    assert!(ran.stderr.contains("--finetune FILE"), "{}", ran.stderr);
    reproduce(&["train", "--preset", "wikitext-3"]).is_refused("an unknown preset");
    reproduce(&["train", "--when", "3,-1"]).is_refused("an epoch before the first");
}

#[test]
fn runs_are_plotted_from_their_logs() {
    let folder = tempfile::tempdir().unwrap();
    let runs = ["narrow", "wide"].map(|name| folder.path().join(name));
    for run in &runs {
        let args = ["train", "--steps", "40", "--log-interval", "8", "--out", text(run), "--json"];
        reproduce(&[&args[..], &SMALL].concat()).json();
        let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        assert_eq!(log.lines().filter(|line| line.contains("\"steps\"")).count(), 5, "{log}");
        let events = fs::read_dir(run).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().contains("tfevents")
        });
        assert_eq!(events.count(), 1);
    }
    let [narrow, wide] = runs.each_ref().map(|run| text(run));
    let out = folder.path().join("plots");
    let plotted = reproduce(&["plot", narrow, wide, "--out", text(&out), "--json"]).json();
    assert_eq!(plotted["curves"], 4);
    let svg = fs::read_to_string(out.join("training_curve.svg")).unwrap();
    assert!(svg.contains("narrow") && svg.contains("wide, valid"), "{svg}");
    assert!(fs::read(out.join("training_curve.png")).unwrap().starts_with(b"\x89PNG"));

    fs::write(runs[0].join("metrics.jsonl"), "{}\n").unwrap();
    reproduce(&["plot", narrow]).is_refused("an invalid log");
    reproduce(&["plot", text(folder.path())]).is_refused("a folder without a log");
}

#[test]
fn a_run_that_needs_too_much_memory_is_refused_before_it_starts() {
    let out = tempfile::tempdir().unwrap();
    let run = out.path().join("run");
    let refused = reproduce(&["train", "--nhid", "300000", "--out", text(&run)]);
    assert_eq!(refused.status, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("not enough memory"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--nhid"), "{}", refused.stderr);
    assert!(!run.exists());
}

#[test]
fn tokens_are_cached_unless_no_cache_is_given() {
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "valid", "test"] {
        fs::write(folder.path().join(format!("{split}.txt")), "a b\nc a\n").unwrap();
    }
    let stats = |flags: &[&str]| {
        let args = ["data", "stats", "--json", "--data", text(folder.path())];
        reproduce(&[&args[..], flags].concat()).json()
    };
    for (flags, cached) in
        [(&["--no-cache"][..], false), (&[], false), (&[], true), (&["--no-cache"], false)]
    {
        let counts = stats(flags);
        assert_eq!(counts["cached"], cached, "{flags:?}");
        assert_eq!((&counts["vocab"], &counts["train_tokens"]), (&4.into(), &6.into()));
    }
}
