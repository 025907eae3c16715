//! Several processes compute what one does.

use super::ranks::{Ranks, train, train_alone};
use super::{alone, assert_as_alone, checkpoints, losses, result};
use crate::command_line::{small_text, text_folder};

/// Trains by `n` ranks, each with a folder of its own, and compares the run with that of one process.
#[track_caller]
fn check(n: usize, flags: &str) {
    let folder = tempfile::tempdir().unwrap();
    let out = |rank| folder.path().join(format!("of-rank-{rank}"));
    let run = result(&Ranks::start(n, |rank| train(flags, &out(rank))).wait());
    assert_as_alone(&run, flags);
    assert!((1..n).all(|rank| !out(rank).exists()), "not only rank 0 wrote a folder");
    let steps = losses(&run).len() as u64;
    assert_eq!(checkpoints(&out(0)).last(), Some(&steps));
    for file in ["config.json", "metrics.jsonl", "model.safetensors", "results.json"] {
        assert!(out(0).join(file).exists(), "{file}");
    }
}

#[test]
fn two_three_and_four_processes_train_as_one() {
    for n in [2, 3, 4] {
        check(n, "--steps 60");
    }
}

/// Of the words that one share of the columns has, some clusters may have none.
#[test]
fn the_clusters_of_a_split_softmax_are_summed() {
    check(3, "--steps 60 --splits 500,2000");
}

#[test]
fn an_adaptive_model_trains_as_by_one_process() {
    check(2, "--steps 30 --widths 24,12,6 --ids frequency --splits 500,2000");
}

#[test]
fn every_optimizer_trains_as_by_one_process() {
    for flags in ["--optimizer adam", "--optimizer sgd --lr 1", "--optimizer asgd --lr 1"] {
        check(2, &format!("--steps 30 {flags}"));
    }
}

/// Several epochs, with the means of weights that averaged SGD validates.
#[test]
fn epochs_end_alike() {
    let data = text_folder(&small_text());
    let data = data.path().display();
    let averaged = "--optimizer sgd --lr 1 --nonmono 0 --when 2";
    check(2, &format!("--data {data} --epochs 4 --steps 50 {averaged}"));
}

#[test]
fn a_run_goes_on_with_another_number_of_processes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let by = |n, flags: &str| result(&Ranks::start(n, |_| train(flags, &out)).wait());
    assert_as_alone(&by(2, "--steps 25"), "--steps 25");
    let run = by(4, "--steps 45 --resume");
    assert_eq!(losses(&run).len(), 45);
    let run = train_alone("--steps 60 --resume", &out).json();
    assert_as_alone(&run, "--steps 60");
    assert_eq!(run["parameters"], alone("--steps 60")["parameters"]);
}
