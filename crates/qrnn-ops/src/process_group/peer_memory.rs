//! Memory of other processes of this machine, by `process_vm_readv`.

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use libc::{iovec, pid_t};
use multiversion::multiversion;
use tch::{Device, Kind, Tensor};

use crate::libtorch::parallel_for;

/// Elements that a thread reads at once: they stay in its processor's cache until they are added.
const BLOCK: usize = 1 << 16;

/// The processes of a group, all on this machine. While this lives, they may read the memory of this one.
#[derive(Debug)]
pub(super) struct PeerMemory {
    /// In the order of the ranks.
    processes: Vec<pid_t>,
    _permission: Permission,
}

/// Why memory was not read.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// The rank whose memory the system does not let be read; `None` if a thread of this process failed.
    pub rank: Option<usize>,
    pub problem: String,
}

impl PeerMemory {
    /// * `processes`: of the ranks.
    pub fn of(processes: Vec<pid_t>) -> Self {
        Self { processes, _permission: Permission::give() }
    }

    /// Adds the same range of a tensor of other ranks.
    ///
    /// * `sources`: the ranks and the addresses of their tensors.
    pub fn add(
        &self,
        own: SharedTensor<'_>,
        range: Range<usize>,
        sources: &[(usize, usize)],
    ) -> Result<(), Unreadable> {
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
    pub fn copy(
        &self,
        own: SharedTensor<'_>,
        range: Range<usize>,
        (rank, address): (usize, usize),
    ) -> Result<(), Unreadable> {
        in_blocks(range, |block| {
            // SAFETY: as in `add`.
            self.read(rank, address + 4 * block.start, unsafe { own.part(block) })
        })
    }

    /// Fills `to` with memory of another rank.
    pub fn read(&self, rank: usize, address: usize, to: &mut [f32]) -> Result<(), Unreadable> {
        let read = read_memory(self.processes[rank], address, to);
        read.map_err(|error| Unreadable { rank: Some(rank), problem: error.to_string() })
    }
}

/// A contiguous tensor whose disjoint parts are written by several threads.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedTensor<'a> {
    start: *mut f32,
    length: usize,
    tensor: PhantomData<&'a Tensor>,
}

// SAFETY: each part belongs to one task of `parallel_for`.
unsafe impl Sync for SharedTensor<'_> {}

impl<'a> SharedTensor<'a> {
    /// A contiguous fp32 tensor of the CPU.
    pub fn of(tensor: &'a Tensor) -> Self {
        assert!(tensor.kind() == Kind::Float && tensor.device() == Device::Cpu);
        assert!(tensor.is_contiguous());
        let (start, length) = (tensor.data_ptr().cast(), tensor.numel());
        Self { start, length, tensor: PhantomData }
    }

    /// Its address in this process.
    pub fn address(self) -> usize {
        self.start.expose_provenance()
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        self.length
    }

    /// # Safety
    /// The part lies inside the tensor, and nothing else uses it meanwhile.
    unsafe fn part(self, range: Range<usize>) -> &'a mut [f32] {
        assert!(range.end <= self.length);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// Calls `body` on parts of a range, on torch's threads; the first error of one.
fn in_blocks(
    range: Range<usize>,
    body: impl Fn(Range<usize>) -> Result<(), Unreadable> + Sync,
) -> Result<(), Unreadable> {
    let first = Mutex::new(Ok(()));
    let done = parallel_for(range.len(), BLOCK, |part| {
        if let Err(error) = body(range.start + part.start..range.start + part.end) {
            *first.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
        }
    });
    done.map_err(|error| Unreadable { rank: None, problem: error.to_string() })?;
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

/// Permits processes of the same user to read this one's memory, and to attach to it as debuggers, as Linux does where
/// the Yama module is not active; with it, only ancestors may. Withdrawn with the last group.
#[derive(Debug)]
struct Permission;

static PERMISSIONS: Mutex<usize> = Mutex::new(0);

impl Permission {
    fn give() -> Self {
        Self::count(|given| given + 1);
        Self
    }

    fn count(change: impl Fn(usize) -> usize) {
        let mut given = PERMISSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        *given = change(*given);
        let tracer = if *given > 0 { libc::PR_SET_PTRACER_ANY } else { 0 };
        // SAFETY: the call does nothing to memory. Where Yama is not active it fails, and nothing has to be permitted.
        unsafe { libc::prctl(libc::PR_SET_PTRACER, tracer) };
    }
}

impl Drop for Permission {
    fn drop(&mut self) {
        Self::count(|given| given - 1);
    }
}

/// Whether a process of this system has ended, also if its parent has not waited for it.
pub(super) fn process_has_ended(process: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return true };
    // The state follows the name, which is in parentheses and may have some itself.
    let state = stat.rsplit(") ").next().and_then(|fields| fields.chars().next());
    matches!(state, Some('Z' | 'X'))
}

/// What processes must have in common to read each other's memory: the running system, and the namespace of numbers of
/// processes. Other network namespaces are other machines to a group, whose sums then go through the network, as asked.
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
