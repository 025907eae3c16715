//! Processes of `reproduce` as a shell loop starts them for a group.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Ran, command};

/// No group may take longer.
const LIMIT: Duration = Duration::from_secs(60);

/// A small model with all dropouts and regularizers, on the embedded corpus.
const MODEL: &str = "--emsize 24 --nhid 40 --nlayers 3 --bptt 12 --batch-size 7 --wdrop 0.3 --zoneout 0.1 \
                     --dropoute 0.1 --alpha 2 --beta 1 --lr 0.01 --precision fp32 --device cpu --json";

/// A command that trains the small model; of two equal flags, the last one counts.
pub fn train(flags: &str, out: &Path) -> Command {
    let mut args = vec!["train", "--out", out.to_str().unwrap()];
    args.extend(MODEL.split_whitespace().chain(flags.split_whitespace()));
    command(&args)
}

/// Trains by one process.
pub fn train_alone(flags: &str, out: &Path) -> Ran {
    train(flags, out).output().unwrap().into()
}

/// A port that nobody listens at, below those that the system gives to clients.
pub fn free_port() -> u16 {
    const FIRST: u16 = 25_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = std::process::id() as u16 % 60 * 100;
    let ports = std::iter::repeat_with(|| FIRST + own + NEXT.fetch_add(1, Ordering::Relaxed) % 100);
    let is_free = |port: &u16| TcpListener::bind(("0.0.0.0", *port)).is_ok();
    ports.take(100).find(is_free).expect("a free port")
}

/// The environment of rank `rank` of `size`, which meet at `host` and `port`.
pub fn set_rank(command: &mut Command, (rank, size): (usize, usize), (host, port): (&str, u16)) {
    command.env_remove("GLOO_SOCKET_IFNAME");
    command.env("RANK", rank.to_string()).env("WORLD_SIZE", size.to_string());
    command.env("MASTER_ADDR", host).env("MASTER_PORT", port.to_string());
}

/// Processes that run at the same time. They are killed when this is dropped, or after a minute.
pub struct Ranks {
    processes: Vec<Process>,
    started: Instant,
}

struct Process {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    ended: Option<Instant>,
}

/// How a process ended.
pub struct Ended {
    pub ran: Ran,
    pub at: Instant,
}

impl Ranks {
    /// Starts `n` ranks with the commands that `of_rank` gives, on a free port.
    pub fn start(n: usize, of_rank: impl Fn(usize) -> Command) -> Self {
        Self::start_some(&(0..n).collect::<Vec<_>>(), n, of_rank)
    }

    /// Starts these ranks of a group of `n`.
    pub fn start_some(ranks: &[usize], n: usize, of_rank: impl Fn(usize) -> Command) -> Self {
        let port = free_port();
        Self::spawn(ranks.iter().map(|rank| {
            let mut command = of_rank(*rank);
            set_rank(&mut command, (*rank, n), ("127.0.0.1", port));
            command
        }))
    }

    /// Starts processes whose commands are complete.
    pub fn spawn(commands: impl IntoIterator<Item = Command>) -> Self {
        // One after the other, so that a failure to start one ends those before it.
        let mut ranks = Self { processes: vec![], started: Instant::now() };
        for mut command in commands {
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let (stdout, stderr) = (Some(reader(stdout)), Some(reader(stderr)));
            ranks.processes.push(Process { child, stdout, stderr, ended: None });
        }
        ranks
    }

    /// The process of a rank.
    pub fn process(&self, rank: usize) -> u32 {
        self.processes[rank].child.id()
    }

    /// Sends a signal to a rank.
    pub fn send(&self, rank: usize, signal: Signal) {
        kill_process(Pid::from_child(&self.processes[rank].child), signal).unwrap();
    }

    /// Waits until something is so, while all processes run.
    pub fn wait_until(&mut self, ready: impl Fn() -> bool) {
        while !ready() {
            let all_run = self.running() == self.processes.len();
            self.pause(all_run, "a process has ended too early");
        }
    }

    /// Waits until all processes have ended.
    pub fn wait(self) -> Vec<Ended> {
        self.wait_for_all_but(None)
    }

    /// Waits until all others have ended; then kills process `one`, which is left out.
    pub fn wait_for_others(self, one: usize) -> Vec<Ended> {
        let mut ended = self.wait_for_all_but(Some(one));
        ended.remove(one);
        ended
    }

    fn wait_for_all_but(mut self, one: Option<usize>) -> Vec<Ended> {
        let is_waited_for =
            |(i, process): (usize, &Process)| Some(i) != one && process.ended.is_none();
        self.running();
        while self.processes.iter().enumerate().any(is_waited_for) {
            self.pause(true, "a process did not end");
            self.running();
        }
        self.end()
    }

    /// Waits a little. Panics with what all have said if something is wrong or a minute is over.
    fn pause(&mut self, fine: bool, otherwise: &str) {
        if !fine || self.started.elapsed() > LIMIT {
            let seconds = self.started.elapsed().as_secs();
            panic!("after {seconds} s, {otherwise}: {}", describe(&self.end()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }

    /// The number of processes that run.
    fn running(&mut self) -> usize {
        for process in &mut self.processes {
            if process.ended.is_none() && process.child.try_wait().unwrap().is_some() {
                process.ended = Some(Instant::now());
            }
        }
        self.processes.iter().filter(|process| process.ended.is_none()).count()
    }

    /// Kills the processes that run, and returns what all have said.
    fn end(&mut self) -> Vec<Ended> {
        let end = |mut process: Process| {
            // It may have ended.
            let _ = process.child.kill();
            let status = process.child.wait().unwrap().code();
            let text = |reader: Option<JoinHandle<String>>| reader.unwrap().join().unwrap();
            let (stdout, stderr) = (text(process.stdout.take()), text(process.stderr.take()));
            let at = process.ended.unwrap_or_else(Instant::now);
            Ended { ran: Ran { status, stdout, stderr }, at }
        };
        std::mem::take(&mut self.processes).into_iter().map(end).collect()
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        self.end();
    }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    let mut pipe = pipe.unwrap();
    std::thread::spawn(move || {
        let mut bytes = vec![];
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

fn describe(outputs: &[Ended]) -> String {
    let one = |(rank, ended): (usize, &Ended)| {
        let Ran { status, stdout, stderr } = &ended.ran;
        format!("\nprocess {rank}: {status:?}\n{stdout}{stderr}")
    };
    outputs.iter().enumerate().map(one).collect()
}
