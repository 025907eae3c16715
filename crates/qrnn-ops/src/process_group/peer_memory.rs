//! Sums of large tensors by ranks of one machine, which read each other's memory.
//!
//! A connection copies every byte twice, into the system and out of it; `process_vm_readv` copies it once. Each rank sums
//! one share of a tensor, and then reads the other shares (a reduce-scatter and an all-gather, as gloo's ring).

use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use libc::{iovec, pid_t};
use multiversion::multiversion;
use tch::{Device, Kind, Tensor};

use super::diagnosis::Failure;
use super::group::{ProcessGroup, share};
use super::meeting::Member;
use crate::Result;
use crate::libtorch::parallel_for;
use crate::profile::{self, Stage};

/// From this size, in bytes, tensors that are summed together are worth three small operations.
const LARGE: usize = 8 << 20;

/// Elements that a thread reads at once: they stay in its processor's cache until they are added.
const BLOCK: usize = 1 << 16;

/// The processes of a group, all on this machine.
#[derive(Debug)]
pub(super) struct PeerMemory {
    /// In the order of the ranks.
    processes: Vec<pid_t>,
}

impl ProcessGroup {
    /// Finds out whether all ranks can read each other's memory.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub(super) fn find_peers(&self, members: &[Member]) -> Result<Option<PeerMemory>> {
        let system = &members[self.rank()].system;
        if system.is_empty() || members.iter().any(|member| member.system != *system) {
            return Ok(None);
        }
        permit_reading();
        let peers = PeerMemory {
            processes: members.iter().map(|member| member.process as pid_t).collect(),
        };
        // A number of process may mean another one, or the system may not permit this. So a number must be found where
        // its owner says.
        let proof: Box<f32> = Box::new(rand::random());
        let own = [(&raw const *proof) as i64, proof.to_bits().into()];
        let all: Vec<i64> = Vec::try_from(self.all_gather(&Tensor::f_from_slice(&own)?)?.view(-1))?;
        let reads = all.chunks_exact(2).zip(&peers.processes).all(|(entry, process)| {
            let mut read = [0.0];
            let done = read_memory(*process, entry[0] as usize, &mut read);
            done.is_ok() && i64::from(read[0].to_bits()) == entry[1]
        });
        // The proof lives until all have read it.
        let [refusals] = self.sum_numbers([f64::from(u8::from(!reads))])?;
        drop(proof);
        Ok((refusals == 0.0).then_some(peers))
    }

    /// The tensors that [`ProcessGroup::sum_by_memory`] is to sum, and the others.
    pub(super) fn split_for_memory<'a>(
        &self,
        tensors: &[&'a Tensor],
    ) -> (Vec<&'a Tensor>, Vec<&'a Tensor>) {
        let fits =
            |tensor: &&Tensor| tensor.device() == Device::Cpu && tensor.kind() == Kind::Float;
        let (fitting, others): (Vec<_>, Vec<_>) = tensors.iter().copied().partition(fits);
        let bytes: usize = fitting.iter().map(|tensor| size_of::<f32>() * tensor.numel()).sum();
        match self.0.connected.as_ref().and_then(|connected| connected.peers.get()) {
            Some(_) if bytes > LARGE => (fitting, others),
            _ => (vec![], tensors.to_vec()),
        }
    }

    /// Sums contiguous fp32 tensors of the CPU over all ranks, in place.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce`].
    pub(super) fn sum_by_memory(&self, tensors: &[&Tensor]) -> Result<()> {
        let Some(connected) = self.0.connected.as_ref().filter(|_| !tensors.is_empty()) else {
            return Ok(());
        };
        let Some(peers) = connected.peers.get() else { return Ok(()) };
        let own: Vec<_> = tensors.iter().map(|tensor| tensor.data_ptr() as i64).collect();
        // No rank reads before all have come here,
        let all: Vec<i64> = Vec::try_from(self.all_gather(&Tensor::f_from_slice(&own)?)?.view(-1))?;
        let address = |rank: usize, tensor: usize| all[rank * tensors.len() + tensor] as usize;
        // in the order in which they are read: the next rank first, so that not all read the same one.
        let others: Vec<_> =
            (1..self.world_size()).map(|i| (self.rank() + i) % self.world_size()).collect();
        let all_tensors = |each: &dyn Fn(usize, Shared) -> Result<(), String>| {
            let _span = profile::span(Stage::GroupOperations);
            let done = tensors.iter().enumerate().try_for_each(|(i, tensor)| {
                each(i, Shared { start: tensor.data_ptr().cast(), length: tensor.numel() })
            });
            done.map_err(|problem| self.explain(connected, Failure::Failed(&problem)))
        };
        all_tensors(&|i, tensor| {
            let sources: Vec<_> = others.iter().map(|rank| (*rank, address(*rank, i))).collect();
            peers.add(tensor, share(tensor.length, self.rank(), self.world_size()), &sources)
        })?;
        // All shares are summed,
        self.sum_numbers([0.0])?;
        all_tensors(&|i, tensor| {
            others.iter().try_for_each(|rank| {
                let range = share(tensor.length, *rank, self.world_size());
                peers.copy(tensor, range, (*rank, address(*rank, i)))
            })
        })?;
        // and no rank changes its tensors before all have read them.
        self.sum_numbers([0.0])?;
        Ok(())
    }
}

impl PeerMemory {
    /// Adds the same range of a tensor of other ranks.
    ///
    /// * `sources`: the ranks and the addresses of their tensors.
    fn add(
        &self,
        own: Shared,
        range: Range<usize>,
        sources: &[(usize, usize)],
    ) -> Result<(), String> {
        in_blocks(range, |block| {
            let mut scratch = vec![0.0; block.len().min(BLOCK)];
            for start in block.clone().step_by(BLOCK) {
                let part = start..(start + BLOCK).min(block.end);
                let other = &mut scratch[..part.len()];
                // SAFETY: `in_blocks` gives each thread blocks of its own, inside the tensor.
                let sum = unsafe { own.part(part.clone()) };
                for (rank, address) in sources {
                    self.read(*rank, address + 4 * part.start, other)?;
                    add(sum, other);
                }
            }
            Ok(())
        })
    }

    /// Copies a range of a tensor of another rank.
    fn copy(
        &self,
        own: Shared,
        range: Range<usize>,
        (rank, address): (usize, usize),
    ) -> Result<(), String> {
        in_blocks(range, |block| {
            // SAFETY: as in `add`.
            self.read(rank, address + 4 * block.start, unsafe { own.part(block) })
        })
    }

    fn read(&self, rank: usize, address: usize, to: &mut [f32]) -> Result<(), String> {
        read_memory(self.processes[rank], address, to)
            .map_err(|error| format!("cannot read the memory of rank {rank}: {error}"))
    }
}

/// A contiguous tensor whose disjoint parts are written by several threads.
#[derive(Debug, Clone, Copy)]
struct Shared {
    start: *mut f32,
    length: usize,
}

// SAFETY: each part belongs to one task of `parallel_for`.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// The part lies inside the tensor, which lives, and nothing else uses it meanwhile.
    unsafe fn part<'a>(self, range: Range<usize>) -> &'a mut [f32] {
        debug_assert!(range.end <= self.length);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Calls `body` on parts of a range, on torch's threads; the first error of one.
fn in_blocks(
    range: Range<usize>,
    body: impl Fn(Range<usize>) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let first = Mutex::new(Ok(()));
    let done = parallel_for(range.len(), BLOCK, |part| {
        if let Err(problem) = body(range.start + part.start..range.start + part.end) {
            *first.lock().unwrap_or_else(PoisonError::into_inner) = Err(problem);
        }
    });
    done.map_err(|error| error.to_string())?;
    first.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2", "x86_64+avx2"))]
fn add(sum: &mut [f32], other: &[f32]) {
    for (sum, other) in sum.iter_mut().zip(other) {
        *sum += other;
    }
}

/// Fills `to` with the memory of a process.
fn read_memory(process: pid_t, address: usize, to: &mut [f32]) -> io::Result<()> {
    let bytes = size_of_val(to);
    let mut done = 0;
    while done < bytes {
        let part = |base: *mut c_void| iovec {
            iov_base: base.wrapping_byte_add(done),
            iov_len: bytes - done,
        };
        let local = part(to.as_mut_ptr().cast());
        let remote = part(std::ptr::without_provenance_mut(address));
        // SAFETY: the local part lies inside `to`, and the system checks that of the other process.
        let read = unsafe { libc::process_vm_readv(process, &local, 1, &remote, 1, 0) };
        match read {
            ..0 => return Err(io::Error::last_os_error()),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read as usize,
        }
    }
    Ok(())
}

/// Permits processes of the same user to read this one's memory, as Linux does where the Yama module is not active; with
/// it, a process is read by its ancestors alone.
fn permit_reading() {
    // SAFETY: the call has no effect on memory. Where Yama is not active it fails, and nothing has to be permitted.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
}

/// What processes must have in common to read each other's memory: the running system and its numbers of processes.
/// Network namespaces stand for machines; containers of one machine often have their own.
pub(super) fn this_system() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).ok();
    match (boot.trim(), namespace("pid"), namespace("net")) {
        (boot, Some(pid), Some(net)) if !boot.is_empty() => {
            format!("{boot} {} {}", pid.display(), net.display())
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_process_is_read_and_a_wrong_address_is_an_error() {
        let own = std::process::id() as pid_t;
        let source: Vec<f32> = (0..300_000).map(|i| i as f32).collect();
        let mut read = vec![0.0; source.len()];
        read_memory(own, source.as_ptr().addr(), &mut read).unwrap();
        assert_eq!(read, source);
        assert!(read_memory(own, 8, &mut read).is_err());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(read_memory(child.id() as pid_t, source.as_ptr().addr(), &mut read).is_err());
    }

    #[test]
    fn a_system_is_named_alike_each_time() {
        assert!(!this_system().is_empty());
        assert_eq!(this_system(), this_system());
    }
}
