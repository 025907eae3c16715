//! The environment that launchers set, and errors in it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::ranks::{Ended, Ranks, free_port, set_rank, train};
use super::{assert_as_alone, result};

const LOCAL: &str = "127.0.0.1";

#[track_caller]
fn fails(ended: &Ended, words: &[&str]) {
    let stderr = &ended.ran.stderr;
    assert_eq!(ended.ran.status, Some(1), "{stderr}");
    assert!(stderr.contains("what to do:") && !stderr.contains("panicked"), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
}

#[test]
fn an_absent_rank_is_named_within_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let without = |present: &[usize]| {
        let started = Instant::now();
        let command = |_| train("--steps 5 --group-timeout 2", &out);
        let ended = Ranks::start_some(present, 3, command).wait();
        for one in &ended {
            assert!(one.at - started < Duration::from_secs(10), "{:?}", one.at - started);
        }
        assert!(!out.exists());
        ended
    };
    let ended = without(&[0, 2]);
    let message = "rank 1 of the group of 3 did not come to 127.0.0.1:";
    for one in &ended {
        fails(one, &[message, "within 2.0 s", "--group-timeout"]);
    }
    for one in without(&[1, 2]) {
        fails(&one, &["error: rank 0 does not answer at 127.0.0.1:", "MASTER_ADDR"]);
    }
}

/// The one that comes last is refused, and the others train.
#[test]
fn two_processes_of_one_rank_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let flags = "--steps 5 --group-timeout 20";
    let out = folder.path().join("run");
    let mut ended = Ranks::start_some(&[0, 1, 1], 2, |_| train(flags, &out)).wait();
    let second = ended.iter().rposition(|one| one.ran.status != Some(0)).expect("both were taken");
    fails(&ended.remove(second), &["rank 1 has come twice", "MASTER_PORT"]);
    assert_as_alone(&result(&ended), "--steps 5");
}

/// Another program listens there, and hangs up.
#[test]
fn a_taken_port_is_an_error_of_rank_0() {
    let folder = tempfile::tempdir().unwrap();
    // Its server takes connections, and says nothing.
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let commands = (0..2).map(|rank| {
        let mut command = train("--steps 5 --group-timeout 2", &folder.path().join("run"));
        set_rank(&mut command, (rank, 2), (LOCAL, port));
        command
    });
    let ended = Ranks::spawn(commands).wait();
    fails(&ended[0], &[&format!("rank 0 cannot listen at port {port}"), "MASTER_PORT"]);
    let silent = format!("127.0.0.1:{port} takes connections, but does not answer as the store");
    fails(&ended[1], &[&silent, "MASTER_PORT"]);
}

#[test]
fn a_variable_that_is_missing_or_invalid_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, words) in [
        ("RANK", None, "the environment variable RANK is not set"),
        ("RANK", Some("2"), "the environment variable RANK is 2, but WORLD_SIZE is 2"),
        ("WORLD_SIZE", Some("two"), "the environment variable WORLD_SIZE is 'two'"),
        ("MASTER_ADDR", None, "the environment variable MASTER_ADDR is not set"),
        ("MASTER_PORT", Some("70000"), "the environment variable MASTER_PORT is 70000"),
    ] {
        let mut command = train("--steps 5", &folder.path().join("run"));
        set_rank(&mut command, (1, 2), (LOCAL, free_port()));
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
        fails(&Ranks::spawn([command]).wait()[0], &[words]);
    }
}

/// A launcher that starts one process starts an ordinary run: no port is opened.
#[test]
fn a_group_of_one_is_an_ordinary_run() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut command = train("--steps 5", &folder.path().join("run"));
    set_rank(&mut command, (0, 1), (LOCAL, taken.local_addr().unwrap().port()));
    let ended = Ranks::spawn([command]).wait();
    assert_as_alone(&result(&ended), "--steps 5");
    assert!(!ended[0].ran.stderr.contains("rank"), "{}", ended[0].ran.stderr);
}
