//! Processes that are killed or stopped: the others end, and say which one it was.

use std::path::Path;
use std::time::{Duration, Instant};

use qrnn::model::SavedModel;
use rustix::process::Signal;

use super::ranks::{Ended, Ranks, train};
use super::{assert_as_alone, checkpoints, losses, result};

/// Sends a signal to one of three ranks in the middle of a run; returns the others, which must have ended within
/// `limit`.
fn survivors(rank: usize, signal: Signal, limit: u64, flags: &str, out: &Path) -> Vec<Ended> {
    let flags = format!("--steps 100000 --epochs 1000 --checkpoint-every 10 {flags}");
    let mut ranks = Ranks::start(3, |_| train(&flags, out));
    ranks.wait_until(|| checkpoints(out).len() >= 2);
    let process = ranks.process(rank);
    ranks.send(rank, signal);
    let sent = Instant::now();
    let ended = ranks.wait_for_others(rank);
    for one in &ended {
        let Ended { ran, at } = one;
        assert_eq!(ran.status, Some(1), "{}", ran.stderr);
        assert!(*at - sent < Duration::from_secs(limit), "{:?}: {}", *at - sent, ran.stderr);
        let name = format!("error: rank {rank} (process {process} on ");
        assert!(ran.stderr.contains(&name), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains("--resume") && ran.stdout.is_empty(), "{}", ran.stderr);
    }
    ended
}

/// All checkpoints can be read, and two ranks go on from the last one.
fn goes_on(out: &Path) {
    let steps = checkpoints(out);
    for step in &steps {
        SavedModel::open(out.join(format!("checkpoint-{step}.safetensors"))).unwrap();
    }
    let flags = format!("--steps {}", steps.last().unwrap() + 5);
    let resume = format!("{flags} --resume");
    let run = result(&Ranks::start(2, |_| train(&resume, out)).wait());
    assert_as_alone(&run, &flags);
    assert!(losses(&run).len() >= 25);
}

#[test]
fn a_killed_rank_is_named_by_the_others() {
    for rank in [1, 0] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        for one in survivors(rank, Signal::KILL, 10, "", &out) {
            assert!(one.ran.stderr.contains("has ended"), "{}", one.ran.stderr);
        }
        goes_on(&out);
    }
}

#[test]
fn a_stopped_rank_is_named_by_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for one in survivors(2, Signal::STOP, 12, "--group-timeout 4", &out) {
        assert!(one.ran.stderr.contains("does not answer"), "{}", one.ran.stderr);
    }
    goes_on(&out);
}

#[test]
fn all_ranks_end_with_an_error_of_rank_0() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("model.safetensors"), "mine").unwrap();
    let ended = Ranks::start(2, |_| train("--steps 5", &out)).wait();
    ended[0].ran.is_refused("a folder with other files");
    let other = &ended[1].ran;
    assert_eq!(other.status, Some(1), "{}", other.stderr);
    assert!(other.stderr.contains("rank 1: error: rank 0 (process "), "{}", other.stderr);
    assert!(other.stderr.contains("model.safetensors, which would be lost"), "{}", other.stderr);
}
