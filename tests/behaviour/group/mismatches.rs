//! Processes that were not started alike are refused before the first step, and the difference is named.

use std::process::Command;

use super::ranks::{Ended, Ranks, train};
use crate::command_line::{small_text, text_folder};

/// Two ranks of which rank 1 has other flags as well. Neither has printed a result or written a folder.
fn start(flags: &str, of_rank_1: &str) -> Vec<Ended> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let flags_of = |rank| format!("--steps 5 {flags} {}", [of_rank_1, ""][usize::from(rank == 0)]);
    let ended = Ranks::start(2, |rank| train(&flags_of(rank), &out)).wait();
    assert!(ended.iter().all(|one| one.ran.stdout.is_empty()) && !out.exists(), "{of_rank_1}");
    ended
}

/// Both ranks end with status 2 and this message.
#[track_caller]
fn differs(of_rank_1: &str, message: &str) {
    for (rank, one) in start("", of_rank_1).iter().enumerate() {
        one.ran.is_refused(&format!("{of_rank_1}: rank {rank}"));
        assert!(one.ran.stderr.contains(message), "{message}: {}", one.ran.stderr);
    }
}

#[test]
fn a_flag_that_differs_is_named() {
    differs("--lr 0.02", "rank 1 of the group: its --lr is 0.02, but that of rank 0 is 0.01");
    differs("--wdrop 0.2", "rank 1 of the group: its --wdrop is 0.2, but that of rank 0 is 0.3");
    differs("--steps 6", "rank 1 of the group: its --steps is 6, but that of rank 0 is 5");
    differs(
        "--precision bf16",
        "rank 1 of the group: its --precision is bf16, but that of rank 0 is fp32",
    );
    differs(
        "--batch-size 8",
        "rank 1 of the group: its --batch-size is 8, but that of rank 0 is 7",
    );
    differs(
        "--ids frequency",
        "rank 1 of the group: its --ids is frequency, but that of rank 0 is first-",
    );
    differs("--splits 500,2000", "rank 1 of the group: its --splits is ");
}

#[test]
fn a_corpus_that_differs_is_noticed() {
    let data = text_folder(&small_text());
    differs(
        &format!("--data {}", data.path().display()),
        "rank 1 of the group: its corpus has another train text",
    );
    // The same files, one of them changed by a character.
    let other = text_folder(&small_text());
    let changed = small_text().replacen("old", "odd", 1);
    std::fs::write(other.path().join("valid.txt"), changed).unwrap();
    let flags = |data: &tempfile::TempDir| format!("--data {}", data.path().display());
    for one in start(&flags(&data), &flags(&other)) {
        one.ran.is_refused("another validation text");
        assert!(one.ran.stderr.contains("another valid text"), "{}", one.ran.stderr);
    }
}

/// What rank 1 finds out by itself is known to rank 0 at once.
#[test]
fn an_error_of_one_rank_ends_the_others() {
    for (of_rank_1, message) in [
        ("--data nowhere", "nowhere: there is no such folder"),
        ("--dropout 2", "--dropout 2: must be at least 0 and less than 1"),
    ] {
        let ended = start("", of_rank_1);
        let [main, other] = [0, 1].map(|rank| &ended[rank].ran);
        other.is_refused(of_rank_1);
        assert!(other.stderr.contains(&format!("rank 1: error: {message}")), "{}", other.stderr);
        assert_eq!(main.status, Some(1), "{}", main.stderr);
        assert!(main.stderr.contains("error: rank 1 (process "), "{}", main.stderr);
        assert!(main.stderr.contains(&format!("has failed: {message}")), "{}", main.stderr);
    }
}

/// Such a process ends before it knows of a group, so that to the others it is an absent one.
#[test]
fn a_command_line_that_is_no_command_ends_one_rank_and_the_others_in_time() {
    let ended = start("--group-timeout 2", "--lr banana");
    let [main, other] = [0, 1].map(|rank| &ended[rank].ran);
    other.is_refused("--lr banana");
    assert!(other.stderr.contains("'banana'"), "{}", other.stderr);
    assert_eq!(main.status, Some(1), "{}", main.stderr);
    assert!(main.stderr.contains("rank 1 of the group of 2 did not come"), "{}", main.stderr);
}

#[test]
fn more_ranks_than_columns_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let command = |_| -> Command { train("--batch-size 2", &folder.path().join("run")) };
    for one in Ranks::start(3, command).wait() {
        one.ran.is_refused("--batch-size 2");
        let message = "--batch-size 2: each of the 3 processes needs a column of the batch";
        assert!(one.ran.stderr.contains(message), "{}", one.ran.stderr);
    }
}
