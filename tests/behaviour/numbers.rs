//! Numeric flags: invalid values are refused by flag before any work.

use std::path::Path;

use qrnn::evaluate::{EvalOptions, evaluate_split};
use qrnn::prelude::*;
use qrnn::progress::Silent;

use crate::command_line::{small_text, text_folder};
use crate::program::{command, reproduce};

/// Commands and their flags for integers of at least 1.
const POSITIVE: [(&str, &[&str]); 4] = [
    ("count", &["--emsize", "--nhid", "--nlayers", "--vocab", "--param-bits"]),
    (
        "train",
        &["--emsize", "--nhid", "--nlayers", "--bptt", "--batch-size", "--epochs", "--steps"],
    ),
    ("train", &["--checkpoint-every", "--log-interval"]),
    ("evaluate --checkpoint x", &["--bptt", "--batch-size"]),
];

/// Commands and their flags for integers of at least 0.
const NON_NEGATIVE: [(&str, &[&str]); 3] = [
    ("train", &["--seed", "--nonmono"]),
    ("generate --checkpoint x", &["--words", "--seed"]),
    ("", &["--seed"]),
];

/// Commands, their flags for real numbers, and invalid values. No corpus is read before these are refused.
const REAL: [(&str, &[&str], &[&str]); 8] = [
    ("train", &["--lr"], &["0", "-1", "nan", "inf", "1e400"]),
    ("train", &["--clip", "--alpha", "--beta", "--wdecay"], &["-0.1", "nan", "inf"]),
    (
        "train --data no-such-folder",
        &["--dropout", "--dropouth", "--dropouti", "--dropoute", "--wdrop", "--zoneout"],
        &["-0.1", "1", "nan", "1e9"],
    ),
    ("train --data no-such-folder", &["--init-range"], &["0", "-1", "nan", "inf", "1e38"]),
    ("train --data no-such-folder", &["--splits"], &["20,10", "0,10", "x"]),
    ("train", &["--when"], &["0", "-2", "99999999999999999999", "1.5"]),
    ("count", &["--sparsity"], &["-0.1", "1", "nan"]),
    ("", &["--scale"], &["0", "-3", "0.5", "51", "nan", "inf"]),
];

/// Checks that the error for a value names its flag, and returns standard error.
fn check(words: &str, flag: &str, value: &str) -> String {
    let out = tempfile::tempdir().unwrap();
    let run = out.path().join("run");
    let mut args: Vec<&str> = words.split_whitespace().collect();
    args.extend([flag, value]);
    if words.is_empty() || words.starts_with("train") {
        args.extend(["--out", run.to_str().unwrap()]);
    }
    let case = args.join(" ");
    let ran = reproduce(&args);
    ran.is_refused(&case);
    assert!(ran.stderr.contains(flag), "{case}: {}", ran.stderr);
    assert!(!run.exists(), "{case}");
    ran.stderr
}

#[test]
fn messages_name_the_flag_and_its_range() {
    for (words, flags) in POSITIVE {
        for flag in flags {
            for value in ["0", "-1", "-99999999999", "1.5", "99999999999999999999999"] {
                let message = check(words, flag, value);
                assert!(
                    message.contains("from 1 to") || message.contains("at least 1"),
                    "{message}"
                );
            }
        }
    }
    for (words, flags) in NON_NEGATIVE {
        for flag in flags {
            for value in ["-1", "1.5", "99999999999999999999999"] {
                check(words, flag, value);
            }
        }
    }
    for (words, flags, values) in REAL {
        for flag in flags {
            values.iter().for_each(|value| drop(check(words, flag, value)));
        }
    }
}

fn train_small(data: &Path, out: &Path) {
    let args = "train --emsize 12 --nhid 24 --nlayers 2 --bptt 12 --batch-size 4 --steps 3";
    let mut args: Vec<&str> = args.split_whitespace().collect();
    args.extend(["--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    reproduce(&args).succeeds();
}

/// --bptt and --batch-size affect only the speed of an evaluation.
#[test]
fn evaluation_accepts_any_bptt_and_names_the_largest_batch_size() {
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    train_small(data.path(), out.path());
    let evaluate = |more: &[&str]| {
        let (data, out) = (data.path().to_str().unwrap(), out.path().to_str().unwrap());
        let args = ["evaluate", "--checkpoint", out, "--data", data, "--json"];
        reproduce(&[&args[..], more].concat())
    };
    let loss = evaluate(&[]).json()["loss"].as_f64().unwrap();
    for bptt in ["1", "7", "2147483647"] {
        let other = evaluate(&["--bptt", bptt]).json()["loss"].as_f64().unwrap();
        assert!((other - loss).abs() < 1e-6, "{bptt}: {other} {loss}");
    }
    let ran = evaluate(&["--batch-size", "100000", "--split", "train"]);
    ran.is_refused("a batch size above the number of tokens");
    assert!(ran.stderr.contains("--batch-size of 1 to"), "{}", ran.stderr);
    // The largest batch size that the remedy names works.
    let remedy = ran.stderr.split("--batch-size of 1 to ").nth(1).unwrap();
    let largest: String = remedy.chars().take_while(char::is_ascii_digit).collect();
    evaluate(&["--batch-size", &largest, "--split", "train"]).succeeds();

    let temperature = |value: &str| {
        let (data, out) = (data.path().to_str().unwrap(), out.path().to_str().unwrap());
        let args = ["generate", "--checkpoint", out, "--data", data, "--temperature", value];
        reproduce(&[&args[..], &["--words", "3"]].concat())
    };
    for value in ["-1", "nan", "inf"] {
        let ran = temperature(value);
        ran.is_refused(value);
        assert!(ran.stderr.contains("--temperature"), "{}", ran.stderr);
    }
    for value in ["0", "1e-300", "1e300"] {
        temperature(value).succeeds();
    }
}

/// torch would need a minute to start 5000 threads.
#[test]
fn at_most_one_thread_per_processor_is_started() {
    let data = text_folder(&small_text());
    let mut command = command(&["data", "stats", "--no-cache", "--data"]);
    command.arg(data.path()).env("OMP_NUM_THREADS", "5000");
    let ran: crate::program::Ran = command.output().unwrap().into();
    ran.succeeds();
    assert!(ran.stderr.contains("threads instead of 5000"), "{}", ran.stderr);
}

/// `train` has no flag for the batch size of validation, so the message must not offer one.
#[test]
fn a_text_that_is_too_short_for_its_batch_size_is_named() {
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    std::fs::write(data.path().join("valid.txt"), "the cat sat\nthe mat\n").unwrap();
    let out = out.path().join("run");
    let args = ["train", "--data", data.path().to_str().unwrap(), "--emsize", "8", "--nhid", "8"];
    let ran =
        reproduce(&[&args[..], &["--batch-size", "2", "--out", out.to_str().unwrap()]].concat());
    ran.is_refused("a short validation text");
    assert!(ran.stderr.contains("validation text"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("--batch-size"), "{}", ran.stderr);
}

/// `evaluate` has no --dropout or --nhid, for example.
#[test]
fn messages_of_evaluate_offer_only_its_flags() {
    let (data, out) = (text_folder(&small_text()), tempfile::tempdir().unwrap());
    train_small(data.path(), out.path());
    let (text, run) = (data.path().to_str().unwrap(), out.path().to_str().unwrap());
    let help = reproduce(&["evaluate", "--help"]).stdout;
    let check_refused = |case: &str| {
        let ran = reproduce(&["evaluate", "--checkpoint", run, "--data", text]);
        ran.is_refused(case);
        assert!(ran.stderr.contains(run), "{case}: {}", ran.stderr);
        let remedy = ran.stderr.split("what to do:").nth(1).unwrap();
        let words = remedy.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        // The remedy may name flags of training as such.
        let flags = words.filter(|word| word.starts_with("--") && !remedy.contains("training"));
        flags.for_each(|flag| assert!(help.contains(flag), "{case}: {flag}"));
    };
    let config = out.path().join("config.json");
    let written = std::fs::read_to_string(&config).unwrap();
    for (old, new) in [("\"dropouth\": 0.1", "\"dropouth\": 2.0"), ("\"bptt\": 12", "\"bptt\": 0")]
    {
        assert!(written.contains(old), "{written}");
        std::fs::write(&config, written.replace(old, new)).unwrap();
        check_refused(new);
    }
    std::fs::remove_file(config).unwrap();
    let weights = out.path().join("model.safetensors");
    let original = tch::Tensor::read_safetensors(&weights).unwrap();
    type Tensors = Vec<(String, tch::Tensor)>;
    let write = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors: Vec<_> =
            original.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        change(&mut tensors);
        tch::Tensor::write_safetensors(&tensors, &weights).unwrap();
    };
    write(&|tensors| tensors.push(("extra".into(), tch::Tensor::from(1f32))));
    check_refused("an extra tensor");
    write(&|tensors| tensors.retain(|(name, _)| name != "rnns.1.linear.bias"));
    check_refused("a missing tensor");
}

/// Notebooks call the library without the program's flag parsers.
#[test]
fn the_library_checks_the_same_ranges() {
    let corpus = Corpus::synthetic().take_train(2_000);
    let config = LmConfig::paper(8, 12).layers(2).bptt(20);
    let mut model = QrnnLm::new(&config, &corpus, Device::Cpu).unwrap();
    let check_usage = |error: qrnn::Error, setting: &str| {
        assert!(matches!(error, qrnn::Error::Config { .. }), "{error}");
        assert!(error.to_string().contains(setting), "{setting}: {error}");
    };
    let trainer = || Trainer::new(Recipe::paper().bptt(20).batch(4).epochs(1));
    for (trainer, setting) in [
        (trainer().checkpoint_every(0), "trainer.checkpoint_every 0"),
        (trainer().log_every(0), "trainer.log_every 0"),
        (trainer().losses_at_once(0), "trainer.losses_at_once 0"),
        (Trainer::new(Recipe::paper().bptt(usize::MAX)), "recipe.bptt"),
    ] {
        check_usage(trainer.fit(&mut model, &corpus).unwrap_err(), setting);
    }
    let options = EvalOptions { bptt: 0, ..EvalOptions::original(Split::Test, 20) };
    let result = evaluate_split(&model, &corpus, Split::Test, &options, &mut Silent);
    check_usage(result.unwrap_err(), "options.bptt 0");
    for (config, setting) in [
        (config.clone().layers(20_000), "config.layers 20000"),
        (config.clone().layers(usize::MAX), "config.layers"),
        (LmConfig::paper(usize::MAX, 12), "config.emsize"),
    ] {
        check_usage(QrnnLm::new(&config, &corpus, Device::Cpu).unwrap_err(), setting);
    }
}
