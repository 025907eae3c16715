//! Groups whose other rank is a process of its own: this test program again, with one test.

use std::net::TcpListener;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use super::{GroupOptions, ProcessGroup, Rendezvous};

/// The environment variable that makes a test the other rank: the port of the store.
const PORT: &str = "QRNN_TEST_PORT";

/// How soon a rank that has ended or was stopped must be named.
const SOON: Duration = Duration::from_secs(15);

/// Starts the other rank of a test; killed when dropped.
struct OtherRank(Child);

impl OtherRank {
    fn start(test: &str, port: u16) -> Self {
        let name = format!("process_group::process_tests::{test}");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([&name, "--exact"]).env(PORT, port.to_string());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: i32) {
        // SAFETY: it has not been waited for, so the number is still its own.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, signal) }, 0);
    }
}

impl Drop for OtherRank {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The port, if this process is the other rank.
fn port_of_other_rank() -> Option<u16> {
    std::env::var(PORT).ok().map(|port| port.parse().unwrap())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Joins a group of two whose rank 0 hosts the store.
fn join(port: u16, rank: usize) -> ProcessGroup {
    let place = Rendezvous::at("127.0.0.1", port, rank, 2);
    ProcessGroup::join(&place, GroupOptions::default(), &|| false).unwrap()
}

#[test]
fn a_rank_that_is_killed_while_others_read_its_memory_is_named() {
    let sum_for_ever = |group: ProcessGroup| {
        let tensor = Tensor::zeros([10_000_000], (Kind::Float, Device::Cpu));
        assert!(group.sums_by_memory(&[&tensor]));
        loop {
            if let Err(error) = group.all_reduce(&[&tensor]) {
                return error.to_string();
            }
        }
    };
    if let Some(port) = port_of_other_rank() {
        panic!("{}", sum_for_ever(join(port, 1)));
    }
    let port = free_port();
    let other =
        OtherRank::start("a_rank_that_is_killed_while_others_read_its_memory_is_named", port);
    let group = join(port, 0);
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        drop(other);
        Instant::now()
    });
    let error = sum_for_ever(group);
    assert!(killer.join().unwrap().elapsed() < SOON);
    assert!(error.starts_with("rank 1 (process ") && error.contains("has ended"), "{error}");
}

#[test]
fn a_wait_without_limit_ends_if_the_host_of_the_store_is_stopped() {
    if let Some(port) = port_of_other_rank() {
        let _group = join(port, 0);
        std::thread::sleep(10 * SOON);
        return;
    }
    let port = free_port();
    let other =
        OtherRank::start("a_wait_without_limit_ends_if_the_host_of_the_store_is_stopped", port);
    let group = join(port, 1);
    other.signal(libc::SIGSTOP);
    let started = Instant::now();
    let error = group.announcement(&|| false).unwrap_err().to_string();
    assert!(started.elapsed() < SOON);
    assert!(error.starts_with("rank 0 (process ") && error.contains("does not answer"), "{error}");
}
