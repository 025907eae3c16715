//! Processes of this program on this machine, which a shell loop would start: RANK, WORLD_SIZE, MASTER_ADDR,
//! MASTER_PORT and OMP_NUM_THREADS in the environment.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use qrnn::{Error, Result};
use serde::de::DeserializeOwned;

use super::machine::time_of_process;

/// Variables of launchers, which must not reach our processes, and those that change the number of threads or the
/// network's interface.
const FOREIGN: [&str; 9] = [
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "SLURM_PROCID",
    "TORCHELASTIC_USE_AGENT_STORE",
    "TORCHELASTIC_RESTART_COUNT",
    "GLOO_SOCKET_IFNAME",
    "RAYON_NUM_THREADS",
];

/// The processes of a group, or one without a group. Killed when dropped.
pub struct Ranks {
    ranks: Vec<Rank>,
    /// The arguments, for errors.
    call: String,
}

struct Rank {
    child: Child,
    /// Closed to end the process.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Standard error.
    log: File,
}

impl Ranks {
    /// Starts `n` processes of this program with these arguments and `--json`, each with this number of threads.
    pub fn start(args: &[OsString], n: usize, threads: usize) -> Result<Self> {
        let program = std::env::current_exe().map_err(Error::io("this program", "find"))?;
        let call = args.join(" ".as_ref()).to_string_lossy().into_owned();
        let port = free_port()?;
        let mut ranks = Self { ranks: vec![], call };
        for rank in 0..n {
            let mut command = Command::new(&program);
            command.args(args).arg("--json").env("OMP_NUM_THREADS", threads.to_string());
            for name in FOREIGN {
                command.env_remove(name);
            }
            if n > 1 {
                let numbers = [("RANK", rank), ("WORLD_SIZE", n), ("MASTER_PORT", port.into())];
                command.envs(numbers.map(|(name, number)| (name, number.to_string())));
                command.env("MASTER_ADDR", "127.0.0.1");
            }
            let log = tempfile::tempfile().map_err(Error::io(std::env::temp_dir(), "write to"))?;
            let shared = log.try_clone().map_err(Error::io("a temporary file", "share"))?;
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(shared);
            let mut child = command.spawn().map_err(Error::io(&program, "run"))?;
            let commands = child.stdin.take();
            let Some(answers) = child.stdout.take().map(BufReader::new) else {
                return Err(Error::config(&ranks.call, "", "it has no pipes", "try again"));
            };
            ranks.ranks.push(Rank { child, commands, answers, log });
        }
        Ok(ranks)
    }

    /// Processor time of all processes, in seconds.
    pub fn processor_time(&self) -> f64 {
        let time = |rank: &Rank| time_of_process(&rank.child.id().to_string());
        self.ranks.iter().map(time).sum()
    }

    /// Tells rank 0 to do something.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let commands = self.ranks[0].commands.as_mut();
        match commands.map(|pipe| writeln!(pipe, "{line}").and_then(|()| pipe.flush())) {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failed()),
        }
    }

    /// The next line of a rank, which is JSON.
    pub fn answer<T: DeserializeOwned>(&mut self, rank: usize) -> Result<T> {
        let mut line = String::new();
        let read = self.ranks[rank].answers.read_line(&mut line);
        let value = read.ok().and_then(|_| serde_json::from_str(&line).ok());
        value.ok_or_else(|| self.failed())
    }

    /// Closes the input of all processes, and waits until they have ended.
    pub fn finish(mut self) -> Result<()> {
        self.ranks.iter_mut().for_each(|rank| rank.commands = None);
        for rank in 0..self.ranks.len() {
            // Otherwise a process could wait for a reader of its output.
            let _ = std::io::copy(&mut self.ranks[rank].answers, &mut std::io::sink());
            let status = self.ranks[rank].child.wait();
            if !status.is_ok_and(|status| status.success()) {
                return Err(self.failed());
            }
        }
        Ok(())
    }

    /// Ends all processes; the error has what they wrote to standard error.
    fn failed(&mut self) -> Error {
        let mut problem = String::new();
        for (i, rank) in self.ranks.iter_mut().enumerate() {
            rank.end();
            let mut log = String::new();
            let _ = rank.log.rewind().and_then(|()| rank.log.read_to_string(&mut log));
            for line in log.lines().filter(|line| !line.trim().is_empty()) {
                problem += &format!("\n  process {i}: {line}");
            }
        }
        Error::config(&self.call, "", problem.trim(), "correct this, then measure again")
    }
}

impl Rank {
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        self.ranks.iter_mut().for_each(Rank::end);
    }
}

/// A port that no process listens at.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address.map_err(Error::io("127.0.0.1", "listen at"))?.port())
}
