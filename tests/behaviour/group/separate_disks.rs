//! Machines without a common disk: rank 0 alone reads and writes the run's folder.

use std::fs;
use std::path::Path;

use super::ranks::{Ranks, train};
use super::{assert_as_alone, result};

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn other_ranks_neither_write_nor_read_the_folder() {
    let machines = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let elsewhere = machines[1].path();
    // Rank 1 has an empty folder at first, then none.
    let run = |flags: &str, of_rank_1: &str| {
        let start = |rank: usize| {
            let mut command = train(flags, Path::new(["run", of_rank_1][rank]));
            command.current_dir(machines[rank].path());
            command
        };
        result(&Ranks::start(2, start).wait())
    };
    fs::create_dir(elsewhere.join("empty")).unwrap();
    run("--steps 25", "empty");
    assert!(is_empty(&elsewhere.join("empty")));
    fs::remove_dir(elsewhere.join("empty")).unwrap();
    let finished = run("--steps 60 --resume", "nowhere");
    assert_as_alone(&finished, "--steps 60");
    assert!(is_empty(elsewhere));
    // A folder that another run has is not looked at.
    fs::create_dir(elsewhere.join("other")).unwrap();
    fs::write(elsewhere.join("other/model.safetensors"), "mine").unwrap();
    run("--steps 61 --resume", "other");
    assert_eq!(fs::read(elsewhere.join("other/model.safetensors")).unwrap(), b"mine");
}

/// Weights to start from are read by rank 0 as well.
#[test]
fn other_ranks_need_no_weights_to_start_from() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| folder.path().join(name);
    super::ranks::train_alone("--steps 5", &of("first")).succeeds();
    let init = |at: &Path| format!("--steps 5 --init {}", at.display());
    let start = |rank: usize| match rank {
        0 => train(&init(&of("first")), &of("run")),
        _ => train(&init(&of("nowhere")), &of("unused")),
    };
    let run = result(&Ranks::start(2, start).wait());
    assert!(!of("unused").exists());
    let alone = super::ranks::train_alone(&init(&of("first")), &of("alone")).json();
    let [run, alone] = [&run, &alone].map(super::losses);
    assert_eq!(run[0].to_bits(), alone[0].to_bits());
}
