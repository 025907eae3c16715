//! A group of processes, and what they compute together.

use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::backend::{Backend, Work};
use super::connected::{Broken, Connected, nccl_unavailable};
use super::diagnosis::Failure;
use super::meeting::Meeting;
use super::options::GroupOptions;
use super::rendezvous::Rendezvous;
use super::signal::RankState;
use crate::profile::{self, Stage};
use crate::{Error, Result};

/// A group of processes. Clones are the same group; it is left when the last one is dropped.
///
/// All ranks must call the same operations in the same order, with tensors of the same shapes. After an error no
/// operation works any more.
#[derive(Debug, Clone)]
pub struct ProcessGroup(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    rank: usize,
    world_size: usize,
    /// The ranks on this machine, and the number of this one among them.
    local: (usize, usize),
    pub(super) timeout: Duration,
    /// `None` in a group of one.
    pub(super) connected: Option<Connected>,
    pub(super) broken: Mutex<Option<Broken>>,
}

impl ProcessGroup {
    /// Meets the other ranks and connects them. A group of one opens no socket.
    ///
    /// * `interrupted`: asked again and again while this rank waits; true makes it stop.
    ///
    /// # Errors
    /// [`Error::Group`] naming the ranks that did not come in time; [`Error::Interrupted`].
    pub fn join(
        place: &Rendezvous,
        options: GroupOptions,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let (rank, world_size) = (place.rank, place.world_size);
        let (mut connected, mut local) = (None, (1, 0));
        if world_size > 1 {
            let meeting = Meeting::attend(place, options, interrupted)?;
            local = meeting.local();
            connected = Some(Connected::connect(meeting, options.gloo, interrupted)?);
        }
        let local = (local.0, place.local_rank.unwrap_or(local.1));
        let (timeout, broken) = (options.timeout, Mutex::default());
        let group = Self(Arc::new(Inner { rank, world_size, local, timeout, connected, broken }));
        group.find_peers()?;
        Ok(group)
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.0.rank
    }

    /// The number of processes.
    pub fn world_size(&self) -> usize {
        self.0.world_size
    }

    /// Number of ranks on this machine.
    pub fn local_size(&self) -> usize {
        self.0.local.0
    }

    /// The number of this process among those of its machine, from 0.
    pub fn local_rank(&self) -> usize {
        self.0.local.1
    }

    /// How long a rank waits for the others.
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// The port of the store; 0 in a group of one.
    pub fn port(&self) -> u16 {
        self.0.connected.as_ref().map_or(0, |connected| connected.meeting.place.port)
    }

    /// "gloo", or "nccl" once a GPU is used.
    pub fn backend(&self) -> &'static str {
        let nccl = self.0.connected.as_ref().and_then(|connected| connected.nccl.get());
        if nccl.is_some() { "nccl" } else { "gloo" }
    }

    /// The part of `n` items that this rank has: parts are contiguous, in the order of the ranks, and differ by at most
    /// one.
    pub fn share(&self, n: usize) -> Range<usize> {
        share(n, self.rank(), self.world_size())
    }

    /// Prepares operations on a device; all ranks must call it. Connects GPUs by NCCL, and tests the connection.
    ///
    /// * `interrupted`: as for [`ProcessGroup::join`].
    ///
    /// # Errors
    /// [`Error::Group`] if some ranks compute on the CPU and others on GPUs; [`Error::Unavailable`] if libtorch's CUDA
    /// library is not loaded or fails; [`Error::Interrupted`].
    pub fn use_device(&self, device: Device, interrupted: &dyn Fn() -> bool) -> Result<()> {
        let Some(connected) = &self.0.connected else { return Ok(()) };
        // NCCL would wait without a limit for a rank that does not use it.
        let name = if device.is_cuda() { "a GPU" } else { "the CPU" };
        let names = self.exchange(name, interrupted)?;
        if let Some(rank) = names.iter().position(|other| *other != names[0]) {
            return Err(Error::group(
                format!("rank {rank}"),
                format!("computes on {}, but rank 0 on {}", names[rank], names[0]),
                "give each process a GPU, or start all with --device cpu",
            ));
        }
        if !device.is_cuda() || connected.nccl.get().is_some() {
            return Ok(());
        }
        let meeting = &connected.meeting;
        let prefix = format!("{}/nccl", meeting.prefix);
        let nccl = Backend::nccl(
            &meeting.store,
            &prefix,
            (self.rank(), self.world_size()),
            self.0.timeout,
        );
        let nccl = nccl.map_err(|problem| nccl_unavailable(&problem))?;
        let _ = connected.nccl.set(ManuallyDrop::new(nccl));
        self.self_test(device)
    }

    /// Sums, gathers and broadcasts small tensors on a device, and checks the results.
    ///
    /// # Errors
    /// [`Error::Unavailable`] naming the operation whose result is wrong; [`Error::Group`].
    pub fn self_test(&self, device: Device) -> Result<()> {
        let own = (self.rank() + 1) as f64;
        let n = self.world_size() as i64;
        let of_rank = || Tensor::f_full([3], own, (Kind::Float, device));
        let expect = |what: &str, result: &Tensor, expected: &Tensor| -> Result<()> {
            match result.f_to_device(Device::Cpu)?.f_equal(expected)? {
                true => Ok(()),
                false => Err(nccl_unavailable(&format!("its {what} gives wrong numbers"))),
            }
        };
        let cpu = (Kind::Float, Device::Cpu);
        let sum = of_rank()?;
        self.all_reduce(&[&sum])?;
        self.synchronize()?;
        expect("sum", &sum, &Tensor::f_full([3], (n * (n + 1) / 2) as f64, cpu)?)?;
        let all = self.all_gather(&of_rank()?)?;
        self.synchronize()?;
        let ranks =
            Tensor::f_arange_start(1, n + 1, cpu)?.f_unsqueeze(1)?.f_expand([n, 3], false)?;
        expect("gather", &all, &ranks)?;
        let first = of_rank()?;
        self.broadcast(&[&first])?;
        self.synchronize()?;
        expect("broadcast", &first, &Tensor::f_ones([3], cpu)?)
    }

    /// Sums tensors over all ranks, in place: each rank gets the same bits. They must not share memory. On a GPU, its
    /// current stream waits for the sums, and not the host.
    ///
    /// # Errors
    /// [`Error::Shape`] for a tensor that is not contiguous; [`Error::Group`] naming a rank that has ended or does not
    /// answer.
    pub fn all_reduce(&self, tensors: &[&Tensor]) -> Result<()> {
        let Some(connected) = &self.0.connected else { return Ok(()) };
        let _span = profile::span(Stage::GroupOperations);
        tensors.iter().try_for_each(|tensor| check_contiguous(tensor))?;
        let (by_memory, others) = self.split_for_memory(tensors);
        self.sum_by_memory(&by_memory)?;
        self.all(connected, &others, |backend, tensor| backend.all_reduce(tensor))
    }

    /// Copies tensors of rank 0 to all ranks, in place.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub fn broadcast(&self, tensors: &[&Tensor]) -> Result<()> {
        let Some(connected) = &self.0.connected else { return Ok(()) };
        let _span = profile::span(Stage::GroupOperations);
        tensors.iter().try_for_each(|tensor| check_contiguous(tensor))?;
        self.all(connected, tensors, |backend, tensor| backend.broadcast(tensor, 0))
    }

    /// Begins an operation for each tensor, and completes all.
    pub(super) fn all(
        &self,
        connected: &Connected,
        tensors: &[&Tensor],
        begin: impl Fn(&Backend, &Tensor) -> Result<Work, String>,
    ) -> Result<()> {
        let mut works = vec![];
        for tensor in tensors {
            works.push(self.begin(connected, tensor.device(), |backend| begin(backend, tensor))?);
        }
        works.into_iter().try_for_each(|(work, device)| self.complete(connected, work, device))
    }

    /// The tensors of all ranks, (world size, …), in the order of the ranks.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        let Some(connected) = &self.0.connected else { return Ok(tensor.f_unsqueeze(0)?) };
        let _span = profile::span(Stage::GroupOperations);
        check_contiguous(tensor)?;
        self.gather(connected, tensor)
    }

    pub(super) fn gather(&self, connected: &Connected, tensor: &Tensor) -> Result<Tensor> {
        let mut size = tensor.size();
        size.insert(0, self.world_size() as i64);
        let all = Tensor::f_empty(size, (tensor.kind(), tensor.device()))?;
        // gloo cuts `all` along its first dimension, and wants parts of the shape of `tensor`.
        let (flat, one) = (all.f_view(-1)?, tensor.f_view(-1)?);
        let (work, device) =
            self.begin(connected, tensor.device(), |backend| backend.all_gather(&flat, &one))?;
        self.complete(connected, work, device)?;
        Ok(all)
    }

    /// The sums over all ranks of these numbers.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub fn sum_numbers<const N: usize>(&self, numbers: [f64; N]) -> Result<[f64; N]> {
        let sums = Tensor::f_from_slice(&numbers)?;
        self.all_reduce(&[&sums])?;
        let mut numbers = numbers;
        sums.f_copy_data(&mut numbers, N)?;
        Ok(numbers)
    }

    /// The bytes that rank 0 gives; those of other ranks are ignored.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub fn broadcast_bytes(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let length = Tensor::f_from_slice(&[bytes.len() as i64])?;
        self.broadcast(&[&length])?;
        let content = match self.rank() {
            0 => Tensor::f_from_slice(bytes)?,
            _ => Tensor::f_empty(length.f_int64_value(&[0])?, (Kind::Uint8, Device::Cpu))?,
        };
        self.broadcast(&[&content])?;
        Ok(Vec::try_from(content)?)
    }

    pub(super) fn check_intact(&self) -> Result<()> {
        match &*lock(&self.0.broken) {
            None => Ok(()),
            Some(broken) => Err(broken.error()),
        }
    }

    fn begin(
        &self,
        connected: &Connected,
        device: Device,
        begin: impl FnOnce(&Backend) -> Result<Work, String>,
    ) -> Result<(Work, Device)> {
        self.check_intact()?;
        connected.monitor.operation_begins();
        let work = begin(connected.backend(device)?);
        let work = work.map_err(|problem| self.explain(connected, Failure::Failed(&problem)))?;
        Ok((work, device))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(connected) = &mut self.connected else { return };
        connected.monitor.end(RankState::Left);
        if connected.meeting.place.hosts_store() {
            connected.see_off();
        }
        if lock(&self.broken).is_some() {
            return;
        }
        // SAFETY: dropped once, with the group itself, and not used after.
        unsafe {
            if let Some(nccl) = connected.nccl.get_mut() {
                ManuallyDrop::drop(nccl);
            }
            ManuallyDrop::drop(&mut connected.gloo);
        }
    }
}

/// Part `part` of `n` items in `parts` contiguous parts whose sizes differ by at most one.
pub fn share(n: usize, part: usize, parts: usize) -> Range<usize> {
    let begin = |part: usize| part * (n / parts) + part.min(n % parts);
    begin(part)..begin(part + 1)
}

fn check_contiguous(tensor: &Tensor) -> Result<()> {
    if tensor.is_contiguous() {
        return Ok(());
    }
    Err(Error::shape(
        "an operation of a group",
        "a tensor is not contiguous",
        "pass a contiguous copy",
    ))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod unit_tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_are_contiguous_and_differ_by_at_most_one(n in 0..200usize, parts in 1..20usize) {
            let shares: Vec<_> = (0..parts).map(|part| share(n, part, parts)).collect();
            let all: Vec<usize> = shares.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
            prop_assert!(shares.iter().all(|share| share.len().abs_diff(n / parts) <= 1));
        }
    }
}
