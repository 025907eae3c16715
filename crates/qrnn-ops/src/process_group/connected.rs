//! The connections of a rank with the others.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tch::Device;

use super::backend::{Backend, Work};
use super::diagnosis::{Diagnosis, Evidence, SILENT};
use super::meeting::{Meeting, first_line};
use super::monitor::{Monitor, Seen, StoreContact};
use super::options::GlooOptions;
use super::peer_memory::PeerMemory;
use super::signal::RankState;
use super::store::Store;
use crate::{Error, Result};

/// Time between two looks at a connection in progress.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the host of the store waits for the others to leave.
const FAREWELL: Duration = Duration::from_secs(10);

/// The connections of a rank.
#[derive(Debug)]
pub(super) struct Connected {
    /// Not closed after a failure: closing waits for operations that will not end.
    pub gloo: ManuallyDrop<Backend>,
    pub nccl: OnceLock<ManuallyDrop<Backend>>,
    /// If the ranks read each other's memory.
    pub peers: OnceLock<PeerMemory>,
    /// The last operation on a GPU, which the host has not waited for.
    pub on_gpu: Mutex<Option<Work>>,
    pub monitor: Monitor,
    pub exchanges: AtomicU64,
    announcements: AtomicU64,
    pub meeting: Meeting,
}

/// The error after which nothing works any more.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    pub what: String,
    pub problem: String,
    pub remedy: String,
}

impl Broken {
    pub fn error(&self) -> Error {
        Error::group(&self.what, &self.problem, &self.remedy)
    }
}

impl Connected {
    /// Connects the ranks of a meeting.
    ///
    /// * `interrupted`: asked again and again; true makes it stop.
    ///
    /// # Errors
    /// [`Error::Group`] naming a rank that has ended since, or if they cannot reach each other; [`Error::Interrupted`].
    pub fn connect(
        meeting: Meeting,
        gloo: GlooOptions,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let place = &meeting.place;
        let size = (place.rank, place.world_size);
        let failed = |problem: String| {
            Error::group(
                "the ranks of the group",
                format!("cannot connect with each other: {}", first_line(&problem)),
                "check that all machines reach each other at any port, and name the network's interface in \
                 GLOO_SOCKET_IFNAME if there are several",
            )
        };
        // A connection of its own: an operation that waits holds the other one's lock.
        let (own, _) =
            Store::open(&place.host, place.port, false, meeting.timeout).map_err(failed)?;
        let monitor = Monitor::start(own, &meeting.prefix, size.0, size.1)
            .map_err(|error| failed(format!("no thread can be started ({error})")))?;
        let (sender, receiver) = mpsc::channel();
        let (address, prefix) = (meeting.own_address(), format!("{}/gloo", meeting.prefix));
        let (store, timeout) = (meeting.store.clone(), meeting.timeout);
        // gloo waits for a rank that has ended until time runs out.
        let spawned = std::thread::Builder::new().name("group connects".into()).spawn(move || {
            let _ = sender.send(Backend::gloo(&store, &prefix, &address, size, gloo, timeout));
        });
        spawned.map_err(|error| failed(format!("no thread can be started ({error})")))?;
        let gives_up = || {
            if interrupted() {
                return Some(Error::Interrupted);
            }
            let (ranks, store) = monitor.seen();
            let evidence = evidence(&meeting, &monitor, (&ranks, &store), Instant::now());
            evidence.gone_rank().map(|diagnosis| diagnosis.error)
        };
        let gloo = loop {
            match receiver.recv_timeout(PAUSE) {
                Ok(gloo) => break gloo.map_err(failed),
                Err(RecvTimeoutError::Disconnected) => break Err(failed("no memory".into())),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(error) = gives_up() {
                        break Err(error);
                    }
                }
            }
        };
        let gloo = gloo.inspect_err(|error| {
            let message = match error {
                Error::Interrupted => "was interrupted".into(),
                error => error.to_string(),
            };
            monitor.end(RankState::Failed { because_of: None, message });
        })?;
        Ok(Self {
            gloo: ManuallyDrop::new(gloo),
            nccl: OnceLock::new(),
            peers: OnceLock::new(),
            on_gpu: Mutex::default(),
            monitor,
            exchanges: AtomicU64::new(0),
            announcements: AtomicU64::new(0),
            meeting,
        })
    }

    /// # Errors
    /// [`Error::Unavailable`] for a GPU if the group does not use any.
    pub fn backend(&self, device: Device) -> Result<&Backend> {
        match (device, self.nccl.get()) {
            (Device::Cpu, _) => Ok(&self.gloo),
            (_, Some(nccl)) => Ok(nccl),
            (_, None) => Err(nccl_unavailable("the group was made for the CPU")),
        }
    }

    pub fn next_announcement(&self) -> String {
        let number = self.announcements.fetch_add(1, Ordering::Relaxed);
        format!("{}/announcement/{number}", self.meeting.prefix)
    }

    /// Judges what is known now.
    pub fn evidence<T>(&self, now: Instant, judge: impl FnOnce(&Evidence<'_>) -> T) -> T {
        let (ranks, store) = self.monitor.seen();
        judge(&evidence(&self.meeting, &self.monitor, (&ranks, &store), now))
    }

    /// As [`Evidence::gone_rank`].
    pub fn gone_rank(&self) -> Option<Diagnosis> {
        self.evidence(Instant::now(), |evidence| evidence.gone_rank())
    }

    /// As [`Evidence::ended_rank`].
    pub fn ended_rank(&self) -> Option<Diagnosis> {
        self.evidence(Instant::now(), |evidence| evidence.ended_rank())
    }

    /// Waits until the other ranks have left or are silent, since they need the store until then.
    pub fn see_off(&self) {
        let deadline = Instant::now() + FAREWELL;
        let own = self.meeting.place.rank;
        while Instant::now() < deadline {
            let (ranks, store) = self.monitor.seen();
            let needs_store = |seen: &Seen| {
                seen.signal.state == RankState::Working && seen.changed.elapsed() < SILENT
            };
            let mut others = ranks.iter().enumerate().filter(|(rank, _)| *rank != own);
            if store.lost.is_some() || !others.any(|(_, seen)| needs_store(seen)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn evidence<'a>(
    meeting: &'a Meeting,
    monitor: &Monitor,
    (ranks, store): (&'a [Seen], &'a StoreContact),
    now: Instant,
) -> Evidence<'a> {
    Evidence {
        members: &meeting.members,
        own_rank: meeting.place.rank,
        operations: monitor.operations(),
        rank_hosts_store: meeting.place.rank_hosts_store,
        ranks,
        store,
        now,
    }
}

pub(super) fn nccl_unavailable(problem: &str) -> Error {
    Error::unavailable(
        "NCCL, which connects GPUs,",
        first_line(problem),
        "check `nvidia-smi` and that each process has a GPU of its own, use the libtorch of `cargo xtask setup \
         --cuda`, or train on the CPU",
    )
}
