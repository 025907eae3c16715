//! Workers on this machine, for its processors or GPUs.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use qrnn_ops::libtorch::share_threads;
use qrnn_ops::process_group::{GroupOptions, ProcessGroup, Rendezvous};
use tch::Device;

use super::program;
use crate::interrupt::Interrupt;
use crate::train::trainer::Trainer;
use crate::{Error, Result};

/// How long workers may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long workers may take to start. They load libtorch, which takes seconds on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Processes on this machine that train together with this one. They end when this value is dropped.
///
/// ```no_run
/// # use qrnn::prelude::*;
/// # fn main() -> qrnn::Result<()> {
/// # let corpus = Corpus::synthetic();
/// # let mut model = QrnnLm::new(&LmConfig::paper(40, 160), &corpus, Device::Cpu)?;
/// let workers = LocalWorkers::start(2)?; // this process and one more
/// Trainer::new(Recipe::paper().batch(16)).workers(&workers).fit(&mut model, &corpus)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LocalWorkers {
    /// `None` while it is dropped.
    group: Option<ProcessGroup>,
    children: Vec<Child>,
    /// Threads of this process before.
    threads: i32,
}

impl LocalWorkers {
    /// Starts `processes - 1` workers on the CPU; the processors are shared out among them and this process.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the program `reproduce` is not found; [`Error::Ops`] if a worker does not come;
    /// [`Error::Interrupted`].
    pub fn start(processes: usize) -> Result<Self> {
        Self::start_program(&program::find()?, processes, Device::Cpu)
    }

    /// Starts workers on GPUs 1 to `processes - 1`, for a model on GPU 0.
    ///
    /// # Errors
    /// As [`LocalWorkers::start`]; [`Error::Ops`] if NCCL is not available.
    pub fn start_on_gpus(processes: usize) -> Result<Self> {
        Self::start_program(&program::find()?, processes, Device::Cuda(0))
    }

    /// As [`LocalWorkers::start`], with this `reproduce` and on this kind of device.
    ///
    /// # Errors
    /// As [`LocalWorkers::start`].
    pub fn start_program(
        program: impl AsRef<Path>,
        processes: usize,
        device: Device,
    ) -> Result<Self> {
        if processes == 0 {
            return Err(Error::config(
                "processes",
                0,
                "must be at least 1",
                "count this process, too",
            ));
        }
        let interrupt = Interrupt::default().during_call();
        let threads = tch::get_num_threads();
        let mut workers = Self { group: None, children: vec![], threads };
        let port = free_port()?;
        let per_process = share_threads(processes).threads;
        for rank in 1..processes {
            let child = command(program.as_ref(), (rank, processes), port, device, per_process)
                .spawn()
                .map_err(Error::io(program.as_ref(), "start"))?;
            workers.children.push(child);
        }
        let place = Rendezvous::at("127.0.0.1", port, 0, processes);
        let started = Instant::now();
        let children = Mutex::new(&mut workers.children);
        let ended = || {
            let mut children = children.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            children.iter_mut().any(|child| !matches!(child.try_wait(), Ok(None)))
        };
        let gives_up = || ended() || started.elapsed() > START || interrupt.requested();
        let joined = ProcessGroup::join(&place, GroupOptions::default(), &gives_up);
        let connected = joined.and_then(|group| {
            group.use_device(device, &gives_up)?;
            Ok(group)
        });
        let group = match connected {
            Err(qrnn_ops::Error::Interrupted) if !interrupt.requested() => {
                return Err(ended_at_start(program.as_ref()));
            }
            group => group?,
        };
        workers.group = Some(group);
        Ok(workers)
    }

    /// The group of this process, its rank 0, and the workers.
    pub fn group(&self) -> Option<&ProcessGroup> {
        self.group.as_ref()
    }
}

impl Trainer {
    /// As [`Trainer::lead`], with workers on this machine.
    pub fn workers(self, workers: &LocalWorkers) -> Self {
        match workers.group() {
            Some(group) => self.lead(group),
            None => self,
        }
    }
}

fn command(
    program: &Path,
    (rank, processes): (usize, usize),
    port: u16,
    device: Device,
    threads: usize,
) -> Command {
    let mut command = Command::new(program);
    command.args(["worker", "--device", if device.is_cuda() { "cuda" } else { "cpu" }]);
    let numbers = [
        ("RANK", rank),
        ("LOCAL_RANK", rank),
        ("WORLD_SIZE", processes),
        ("MASTER_PORT", port.into()),
        ("OMP_NUM_THREADS", threads),
    ];
    command.envs(numbers.map(|(name, number)| (name, number.to_string())));
    command.env("MASTER_ADDR", "127.0.0.1");
    // A launcher of this process is not theirs.
    for name in ["TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RESTART_COUNT"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A port that nothing listens at now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address.map_err(Error::io(PathBuf::from("127.0.0.1"), "listen at"))?.port())
}

fn ended_at_start(program: &Path) -> Error {
    Error::unavailable(
        "a worker process",
        format!("{} worker did not start; its message is above", program.display()),
        "build it again with `cargo build --release`",
    )
}

impl Drop for LocalWorkers {
    fn drop(&mut self) {
        // Workers end when rank 0 has left the group.
        let was_in_group = self.group.take().is_some();
        let deadline = Instant::now() + if was_in_group { PATIENCE } else { Duration::ZERO };
        for child in &mut self.children {
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    let _ = child.kill();
                    let _ = child.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        tch::set_num_threads(self.threads);
    }
}
