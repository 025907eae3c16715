//! The connections of a rank with the others.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tch::Device;

use super::backend::{Backend, GlooOptions, Work};
use super::diagnosis::{Diagnosis, Evidence, SILENT};
use super::meeting::{Meeting, first_line};
use super::monitor::{Monitor, Seen};
use super::peer_memory::PeerMemory;
use super::signal::RankState;
use super::store::Store;
use crate::{Error, Result};

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
    /// # Errors
    /// [`Error::Group`] if they cannot reach each other.
    pub fn connect(meeting: Meeting, gloo: GlooOptions) -> Result<Self> {
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
        let (address, prefix) = (meeting.own_address(), format!("{}/gloo", meeting.prefix));
        let gloo = Backend::gloo(&meeting.store, &prefix, &address, size, gloo, meeting.timeout)
            .map_err(failed)?;
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
        let place = &self.meeting.place;
        judge(&Evidence {
            members: &self.meeting.members,
            own_rank: place.rank,
            operations: self.monitor.operations(),
            rank_hosts_store: place.rank_hosts_store,
            ranks: &ranks,
            store: &store,
            now,
        })
    }

    /// As [`Evidence::gone_rank`].
    pub fn gone_rank(&self) -> Option<Diagnosis> {
        self.evidence(Instant::now(), |evidence| evidence.gone_rank())
    }

    /// A rank that says that it has failed.
    pub fn failed_rank(&self) -> Option<Diagnosis> {
        self.evidence(Instant::now(), |evidence| evidence.failed_rank())
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

pub(super) fn nccl_unavailable(problem: &str) -> Error {
    Error::unavailable(
        "NCCL, which connects GPUs,",
        first_line(problem),
        "check `nvidia-smi` and that each process has a GPU of its own, use the libtorch of `cargo xtask setup \
         --cuda`, or train on the CPU",
    )
}
