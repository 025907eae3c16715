//! Two machines, of which two network namespaces have what matters here: addresses of their own, and a cable.

use std::process::Command;
use std::time::{Duration, Instant};

use super::ranks::{Ended, Ranks, free_port, set_rank, train};
use super::{assert_as_alone, checkpoints, result};

const ADDRESSES: [&str; 2] = ["10.213.77.1", "10.213.77.2"];

/// Two namespaces with a cable between them, which are removed when this is dropped.
struct Machines {
    names: [String; 2],
    port: u16,
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split_whitespace()).status().unwrap().success()
}

impl Machines {
    fn new() -> Self {
        let id = std::process::id();
        let machines = Self { names: [0, 1].map(|i| format!("qrnn-{id}-{i}")), port: free_port() };
        let [a, b] = &machines.names;
        let must = |arguments: String| assert!(ip(&arguments), "ip {arguments}");
        must(format!("netns add {a}"));
        must(format!("netns add {b}"));
        must(format!("link add cable netns {a} type veth peer name cable netns {b}"));
        for (name, address) in machines.names.iter().zip(ADDRESSES) {
            must(format!("-n {name} address add {address}/24 dev cable"));
            must(format!("-n {name} link set lo up"));
            must(format!("-n {name} link set cable up"));
        }
        machines
    }

    /// Starts a rank in each.
    fn start(&self, of_rank: impl Fn(usize) -> Command) -> Ranks {
        Ranks::spawn(self.names.iter().enumerate().map(|(rank, name)| {
            let program = of_rank(rank);
            let mut command = Command::new("ip");
            command.args(["netns", "exec", name]).arg(program.get_program());
            command.args(program.get_args());
            for (name, value) in program.get_envs() {
                command.env(name, value.unwrap_or_default());
            }
            set_rank(&mut command, (rank, 2), (ADDRESSES[0], self.port));
            command
        }))
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
            // Also if it was never made, or not wholly.
            ip(&format!("netns delete {name}"));
        }
    }
}

#[test]
#[ignore = "makes network namespaces, as root"]
fn two_machines_train_as_one_process_and_notice_a_cut_cable() {
    let (machines, folder) = (Machines::new(), tempfile::tempdir().unwrap());
    let out = |name: &str, rank| folder.path().join(format!("{name}-{rank}"));
    let ranks = machines.start(|rank| train("--steps 60", &out("whole", rank)));
    assert_as_alone(&result(&ranks.wait()), "--steps 60");

    let endless = "--steps 100000 --epochs 1000 --checkpoint-every 10 --group-timeout 5";
    let mut ranks = machines.start(|rank| train(endless, &out("cut", rank)));
    ranks.wait_until(|| !checkpoints(&out("cut", 0)).is_empty());
    let processes = [0, 1].map(|rank| ranks.process(rank));
    assert!(ip(&format!("-n {} link set cable down", machines.names[1])));
    let cut = Instant::now();
    for (rank, Ended { ran, at }) in ranks.wait().into_iter().enumerate() {
        assert_eq!(ran.status, Some(1), "{}", ran.stderr);
        assert!(at - cut < Duration::from_secs(15), "{:?}: {}", at - cut, ran.stderr);
        let other = 1 - rank;
        let name = format!("rank {other} (process {} on ", processes[other]);
        assert!(ran.stderr.contains(&name), "{name}: {}", ran.stderr);
    }
}
