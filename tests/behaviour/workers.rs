//! Worker processes that a program starts for its own training.

use std::path::Path;
use std::process::Command;

use qrnn::Error;
use qrnn::model::{LmConfig, QrnnLm};
use qrnn::prelude::*;

fn recipe() -> Recipe {
    Recipe { steps: Some(25), ..Recipe::paper() }.bptt(12).batch(5).epochs(1)
}

fn corpus() -> Corpus {
    Corpus::synthetic().take_train(4_000)
}

fn model(corpus: &Corpus) -> QrnnLm {
    let config = LmConfig::paper(16, 24).layers(2).weight_drop(0.2).zoneout(0.1);
    QrnnLm::new(&config, corpus, Device::Cpu).unwrap()
}

fn workers(processes: usize) -> LocalWorkers {
    let program = env!("CARGO_BIN_EXE_reproduce");
    LocalWorkers::start_program(program, processes, Device::Cpu).unwrap()
}

/// The process numbers of this process's workers.
fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let listed = Command::new("pgrep").args(["-P", &own, "-f", "reproduce worker"]).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    listed.lines().map(str::to_owned).collect()
}

/// One test, since it looks at the children of this process.
#[test]
fn workers_train_with_this_process_and_end_with_their_value() {
    let corpus = corpus();
    let mut alone = model(&corpus);
    let expected = Trainer::new(recipe()).fit(&mut alone, &corpus).unwrap();
    let group = workers(3);
    assert_eq!(children().len(), 2);
    // Again with other settings, and the same corpus, which is not sent again.
    for _ in 0..2 {
        let mut together = model(&corpus);
        let run = Trainer::new(recipe()).workers(&group).fit(&mut together, &corpus).unwrap();
        assert_eq!(run.losses[0], expected.losses[0]);
        for (a, b) in run.losses.iter().zip(&expected.losses) {
            assert!((a - b).abs() < 2e-6, "{a} {b}");
        }
        let losses = [run.test_loss, expected.test_loss].map(Option::unwrap);
        assert!((losses[0] - losses[1]).abs() < 2e-6);
    }
    // An invalid call does not cost the workers.
    let mut untrained = model(&corpus);
    let error = Trainer::new(recipe().batch(2)).workers(&group).fit(&mut untrained, &corpus);
    assert!(error.unwrap_err().to_string().contains("each of the 3 processes needs a column"));
    let compressor = Plan::new().zeros("rnns", 0.5);
    let mut together = model(&corpus);
    let compressed =
        Compressor::new(compressor, recipe()).workers(&group).fit(&mut together, &corpus).unwrap();
    assert!(compressed.tensors().iter().any(|tensor| tensor.name.starts_with("rnns")));
    drop(group);
    assert!(children().is_empty());

    let group = workers(2);
    let killed = Command::new("kill").arg("-9").args(children()).status().unwrap();
    assert!(killed.success());
    let error = Trainer::new(recipe()).workers(&group).fit(&mut untrained, &corpus).unwrap_err();
    assert!(error.to_string().starts_with("rank 1 (process "), "{error}");
    let again = Trainer::new(recipe()).workers(&group).fit(&mut untrained, &corpus).unwrap_err();
    assert_eq!(error.to_string(), again.to_string());
    drop(group);
    assert!(children().is_empty());
}

#[test]
fn a_program_that_is_none_is_an_error() {
    let start = |program: &str| LocalWorkers::start_program(program, 2, Device::Cpu).unwrap_err();
    assert!(matches!(start("/no/such/program"), Error::Io { .. }));
    let error = start("/bin/true");
    assert!(error.to_string().contains("/bin/true worker did not start"), "{error}");
    assert!(LocalWorkers::start_program(Path::new("unused"), 0, Device::Cpu).is_err());
}
