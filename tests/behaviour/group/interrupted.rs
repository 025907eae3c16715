//! A request to stop that reaches one process stops all of them at one step.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::ranks::{Ranks, train};
use super::{assert_as_alone, checkpoints, losses, result};
use crate::command_line::catches_ctrl_c;

#[test]
fn sigint_at_one_rank_stops_all_after_the_same_step() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let endless = "--steps 100000 --epochs 1000 --checkpoint-every 10";
    let mut ranks = Ranks::start(3, |_| train(endless, &out));
    ranks.wait_until(|| !checkpoints(&out).is_empty());
    ranks.send(1, Signal::INT);
    let sent = Instant::now();
    let ended = ranks.wait();
    assert!(sent.elapsed() < Duration::from_secs(10), "{:?}", sent.elapsed());
    for one in &ended {
        assert_eq!(one.ran.status, Some(130), "{}", one.ran.stderr);
    }
    let main = &ended[0].ran;
    assert!(main.stderr.contains("interrupted"), "{}", main.stderr);
    assert!(ended[1..].iter().all(|one| one.ran.stdout.is_empty() && one.ran.stderr.is_empty()));
    let run: Value = serde_json::from_str(&main.stdout).unwrap();
    let steps = losses(&run).len() as u64;
    assert_eq!(checkpoints(&out).last(), Some(&steps));

    let flags = format!("--steps {}", steps + 20);
    let resume = format!("{flags} --resume");
    let run = result(&Ranks::start(2, |_| train(&resume, &out)).wait());
    assert_as_alone(&run, &flags);
}

#[test]
fn sigint_before_all_ranks_have_come_ends_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    for rank in [0, 1] {
        let command = |_| train("--steps 5", &folder.path().join("run"));
        let mut ranks = Ranks::start_some(&[rank], 2, command);
        let process = ranks.process(0);
        ranks.wait_until(|| catches_ctrl_c(process));
        std::thread::sleep(Duration::from_millis(200));
        ranks.send(0, Signal::INT);
        let sent = Instant::now();
        let ended = ranks.wait();
        assert_eq!(ended[0].ran.status, Some(130), "{}", ended[0].ran.stderr);
        assert!(sent.elapsed() < Duration::from_secs(6), "{:?}", sent.elapsed());
    }
}
