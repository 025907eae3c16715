//! Commands of `reproduce`: output, written files and errors for bad input.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::program::{Ran, command, reproduce};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const TINY: [&str; 16] = [
    "--emsize",
    "12",
    "--nhid",
    "24",
    "--nlayers",
    "2",
    "--bptt",
    "12",
    "--batch-size",
    "4",
    "--epochs",
    "1",
    "--splits",
    "none",
    "--lr",
    "0.003",
];

/// A data folder in which all three splits have this text.
pub(crate) fn text_folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "valid", "test"] {
        fs::write(folder.path().join(format!("{split}.txt")), text).unwrap();
    }
    folder
}

pub(crate) fn small_text() -> String {
    (0..120).map(|i| format!(" the cat {} sat on the mat . \n \n", ["big", "old"][i % 2])).collect()
}

fn train(data: &Path, out: &Path, flags: &[&str]) -> Ran {
    let mut args = vec!["train", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
    args.extend(TINY);
    args.extend(flags);
    reproduce(&args)
}

/// Starts the program, sends Ctrl-C once `ready`, which gets its process id, returns true, and waits until
/// it exits.
fn interrupt_when(args: &[&str], ready: impl Fn(u32) -> bool) -> Ran {
    let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !ready(child.id()) {
        assert!(started.elapsed() < Duration::from_secs(60), "never ready");
        assert!(child.try_wait().unwrap().is_none(), "exited before the interrupt");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    child.wait_with_output().unwrap().into()
}

/// Whether a process has a handler of SIGINT (proc_pid_status(5)).
pub(crate) fn catches_ctrl_c(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
    u64::from_str_radix(caught, 16).unwrap() & 1 << (Signal::INT.as_raw() - 1) != 0
}

/// LD_DEBUG=files makes the loader print which initializers it calls (ld.so(8)).
#[test]
fn commands_without_tensors_do_not_initialize_libtorch() {
    let initializes_libtorch = |args: &[&str]| {
        let ran: Ran = command(args).env("LD_DEBUG", "files").output().unwrap().into();
        ran.stderr
            .lines()
            .any(|line| line.contains("calling init") && line.contains("libtorch_cpu"))
    };
    for args in
        [&["count"][..], &["count", "--json"], &["--help"], &["--version"], &["count", "-x"]]
    {
        assert!(!initializes_libtorch(args), "{args:?}");
    }
    assert!(initializes_libtorch(&["plot", "no-such-run"]));
}

#[test]
fn count_prints_the_published_table_and_its_json() {
    let ran = reproduce(&["count"]);
    ran.succeeds();
    for number in ["160.641", "48.634", "12.176", "120.347", "156.857", "0.8232"] {
        assert!(ran.stdout.contains(number), "{number} in {}", ran.stdout);
    }
    let json = reproduce(&["count", "--emsize", "300", "--nhid", "2000", "--json"]).json();
    assert_eq!(json["parameters"], 110_007_135);
    assert_eq!(json["criterion_parameters"], 903);
    assert_eq!(json["rows"].as_array().unwrap().len(), 3);
    for field in ["op", "params_mbytes", "mults_m", "adds_m", "mflops"] {
        assert!(json["total"].get(field).is_some(), "{field}");
    }
    let strict = reproduce(&["count", "--strict", "--sparsity", "0.5", "--json"]).json();
    assert!(strict["score"].as_f64().unwrap() < 0.8);
}

#[test]
fn a_trained_model_evaluates_and_generates_text() {
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let run = train(data.path(), out.path(), &["--json"]).json();
    assert_eq!(run["epochs"].as_array().unwrap().len(), 1);
    assert!(run.get("losses").is_none());
    for file in ["model.safetensors", "config.json", "metrics.jsonl", "results.json"] {
        assert!(out.path().join(file).is_file(), "{file}");
    }
    let written: Value =
        serde_json::from_slice(&fs::read(out.path().join("results.json")).unwrap()).unwrap();
    assert_eq!(written, run);

    let (data, out) = (data.path().to_str().unwrap(), out.path().to_str().unwrap());
    let evaluated = reproduce(&["evaluate", "--checkpoint", out, "--data", data, "--json"]).json();
    let difference = evaluated["loss"].as_f64().unwrap() - run["test_loss"].as_f64().unwrap();
    assert!(difference.abs() < 1e-6, "{difference:e}");
    assert!(evaluated["reference_loss"].as_f64() < evaluated["loss"].as_f64());

    let args =
        ["generate", "--checkpoint", out, "--data", data, "--prompt", "the cat", "--words", "20"];
    let ran = reproduce(&args);
    ran.succeeds();
    assert!(ran.stdout.starts_with("the cat "), "{}", ran.stdout);
    assert_eq!(ran.stdout, reproduce(&args).stdout);
}

#[test]
fn steps_adds_the_losses_of_each_step_to_the_json() {
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let run = train(data.path(), out.path(), &["--steps", "3", "--fixed-bptt", "--json"]).json();
    assert_eq!(run["losses"].as_array().unwrap().len(), 3);
}

#[test]
fn data_stats_counts_tokens_and_vocabulary() {
    let data = text_folder("a b a\n\nc\n");
    let stats =
        reproduce(&["data", "stats", "--data", data.path().to_str().unwrap(), "--json"]).json();
    assert_eq!(stats["train_tokens"], 7);
    assert_eq!(stats["vocab"], 4);
}

#[test]
fn the_table_is_written_with_plots_and_report() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().to_str().unwrap();
    let args = ["--out", path, "--rows", "300-1500-140", "--scale", "50", "--no-lengths", "--json"];
    let ran = reproduce(&args);
    let results = ran.json();
    // The number of training tokens is that of the text in use, 400,000 tokens at the default scale of 10 over
    // 4 epochs.
    assert_eq!(results["corpus"]["train_tokens"], 20_000);
    let recipe = results["scale"]["recipe"].as_str().unwrap();
    assert!(recipe.contains("4 epochs of the first 20,000 training tokens"), "{recipe}");
    assert!(!ran.stderr.contains("400,053") && !ran.stderr.contains("400053"), "{}", ran.stderr);
    let row = &results["rows"][0];
    assert_eq!(row["published"]["test_ppl"], 36.46);
    assert!(row["measured"]["test_ppl"].as_f64().unwrap() > 1.0);
    let svg = fs::read_to_string(out.path().join("perplexity_vs_parameters.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    let png = fs::read(out.path().join("perplexity_vs_parameters.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    let page = fs::read_to_string(out.path().join("report.html")).unwrap();
    assert!(page.contains("36.46") && page.contains("<svg"));
    assert!(out.path().join("results.json").is_file());
}

/// Each case exits with status 2, names the file and line, and creates no run folder.
#[test]
fn bad_text_is_refused_by_file_and_line() {
    type Corrupt = fn(&Path);
    let cases: [(&str, Corrupt, &[&str]); 7] = [
        ("missing folder", |f| fs::remove_dir_all(f).unwrap(), &[]),
        ("missing split", |f| fs::remove_file(f.join("valid.txt")).unwrap(), &["valid"]),
        ("empty", |f| fs::write(f.join("valid.txt"), "").unwrap(), &["valid.txt"]),
        ("one line", |f| fs::write(f.join("test.txt"), "a b c\n").unwrap(), &["test.txt"]),
        (
            "invalid UTF-8",
            |f| fs::write(f.join("train.txt"), b"a b\nc d\ne \xff f\n").unwrap(),
            &["train.txt", "line 3"],
        ),
        (
            "a folder for a file",
            |f| {
                fs::remove_file(f.join("test.txt")).unwrap();
                fs::create_dir(f.join("test.txt")).unwrap();
            },
            &["test.txt"],
        ),
        ("no words", |f| fs::write(f.join("train.txt"), "\n \n\n").unwrap(), &["train.txt"]),
    ];
    for (name, corrupt, mentions) in cases {
        let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
        corrupt(data.path());
        let out = out.path().join("run");
        let ran = train(data.path(), &out, &[]);
        ran.is_refused(name);
        for mention in mentions {
            assert!(ran.stderr.contains(mention), "{name}: {}", ran.stderr);
        }
        assert!(!out.exists(), "{name}");
    }
}

#[test]
fn invalid_flags_are_refused_by_name() {
    let data = text_folder(&small_text());
    let data = data.path().to_str().unwrap();
    let cases: &[&[&str]] = &[
        &["train", "--data", data, "--batch-size", "100000"],
        &["train", "--data", data, "--emsize", "0"],
        &["train", "--data", data, "--dropout", "1"],
        &["train", "--data", data, "--lr", "-1"],
        &["train", "--data", data, "--splits", "20,10"],
        &["train", "--data", data, "--splits", "many"],
        &["train", "--data", data, "--optimizer", "magic"],
        &["train", "--data", data, "--device", "cuda"],
        &["train", "--data", data, "--precision", "tf32"],
        &["train", "--data", data, "--precision", "bf16", "--plain"],
        &["train", "--data", data, "--no-such-flag"],
        &["count", "--sparsity", "2"],
        &["count", "--emsize", "99999999999999"],
        &["--full"],
        &["--full", "--scale", "3", "--data", data],
        &["--rows", "no-such-row"],
        &["--scale", "0.5"],
        &["evaluate", "--checkpoint", data, "--data", data],
        &["no-such-command"],
    ];
    for args in cases {
        let out = tempfile::tempdir().unwrap();
        let (out, mut args) = (out.path().join("run"), args.to_vec());
        if matches!(args[0], "train" | "--full" | "--rows" | "--scale") {
            args.extend(["--out", out.to_str().unwrap()]);
        }
        reproduce(&args).is_refused(&args.join(" "));
        assert!(!out.exists(), "{args:?}");
    }
}

#[test]
fn messages_about_names_are_one_sentence() {
    for (args, message) in [
        ("train --optimizer foo", "'foo' for '--optimizer <OPTIMIZER>': use adam, sgd (which"),
        ("evaluate --checkpoint x --split foo", "'foo' for '--split <SPLIT>': use train, valid or"),
        (
            "train --splits x",
            "'x' for '--splits <SPLITS>': use for example 2800,20000,76000, or none",
        ),
        ("train --when x", "'x' for '--when <WHEN>...': give an epoch, counted from 1, or only -1"),
        ("--rows ,", "a value is required for '--rows <ROWS>' but none was supplied"),
    ] {
        let ran = reproduce(&args.split_whitespace().collect::<Vec<_>>());
        ran.is_refused(args);
        assert!(ran.stderr.contains(message), "{args}: {}", ran.stderr);
        assert!(!ran.stderr.contains("what to do"), "{args}: {}", ran.stderr);
    }
}

#[test]
fn corrupted_checkpoints_are_refused_by_name() {
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    train(data.path(), out.path(), &["--steps", "2"]).succeeds();
    let weights = out.path().join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let other_text = text_folder(&small_text().replace("cat", "dog with a hat"));
    let evaluate = |data: &Path| {
        reproduce(&[
            "evaluate",
            "--checkpoint",
            weights.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
        ])
    };
    evaluate(other_text.path()).is_refused("other vocabulary");
    for corrupted in [&whole[..whole.len() / 2], &whole[..4], b"", b"{\"no\": \"safetensors\"}"] {
        fs::write(&weights, corrupted).unwrap();
        let ran = evaluate(data.path());
        ran.is_refused("corrupted weights");
        assert!(ran.stderr.contains("model.safetensors"), "{}", ran.stderr);
    }
    fs::write(&weights, &whole).unwrap();
    fs::write(out.path().join("config.json"), "{\n\"version\": 3}").unwrap();
    let ran = evaluate(data.path());
    let resumed = train(data.path(), out.path(), &["--steps", "3", "--resume"]);
    for ran in [ran, resumed] {
        ran.is_refused("corrupted configuration");
        assert!(ran.stderr.contains("config.json, line"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("column"), "{}", ran.stderr);
    }
    // The remedy of the message.
    fs::remove_file(out.path().join("config.json")).unwrap();
    train(data.path(), out.path(), &["--steps", "3", "--resume"]).succeeds();
}

#[test]
fn an_output_folder_that_cannot_be_created_is_refused() {
    let data = text_folder(&small_text());
    let ran = train(data.path(), &data.path().join("train.txt/run"), &[]);
    ran.is_refused("a file for a folder");
    assert!(ran.stderr.contains("train.txt/run"), "{}", ran.stderr);
    reproduce(&["--out", "/dev/null/report"]).is_refused("a device for a folder");
}

#[test]
fn ctrl_c_ends_training_and_saves_the_model() {
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    let out = out.path();
    let mut args =
        vec!["train", "--data", data.path().to_str().unwrap(), "--out", out.to_str().unwrap()];
    args.extend(TINY);
    let epochs = args.iter().position(|&arg| arg == "--epochs").unwrap() + 1;
    args[epochs] = "100000";
    let log = out.join("metrics.jsonl");
    // After two epochs, so that a model was saved.
    let ran = interrupt_when(&args, |_| {
        fs::read_to_string(&log).is_ok_and(|log| log.matches("\"epoch\",").count() >= 2)
    });
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("finishing this step; press Ctrl-C again"), "{}", ran.stderr);
    let args = ["generate", "--checkpoint", out.to_str().unwrap(), "--words", "1000000000"];
    let ran = interrupt_when(&args, catches_ctrl_c);
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("stopping after this word; press Ctrl-C again"), "{}", ran.stderr);
    let evaluated = reproduce(&[
        "evaluate",
        "--checkpoint",
        out.to_str().unwrap(),
        "--data",
        data.path().to_str().unwrap(),
        "--json",
    ]);
    assert!(evaluated.json()["ppl"].as_f64().unwrap() > 1.0);
}

#[test]
fn the_written_language_is_that_of_the_program_and_replaces_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    let text = text.to_str().unwrap();
    let sizes = ["--train-tokens", "3000", "--valid-tokens", "500", "--test-tokens", "500"];
    let arguments = [&["data", "write", text, "--json"][..], &sizes].concat();
    let written = reproduce(&arguments).json();
    let stats = reproduce(&["data", "stats", "--data", text, "--json"]).json();
    assert_eq!(stats["vocab"], written["vocab"]);
    let tokens = stats["train_tokens"].as_u64().unwrap();
    assert!((3_000..3_500).contains(&tokens), "{tokens}");

    let valid = Path::new(text).join("valid.txt");
    fs::write(&valid, "mine").unwrap();
    let refused = reproduce(&arguments);
    refused.is_refused("a second text in the folder");
    assert!(refused.stderr.contains("exists already"), "{}", refused.stderr);
    assert_eq!(fs::read(valid).unwrap(), b"mine");
}
