//! Connected ranks, by c10d's backends gloo (CPU) and NCCL (CUDA), and operations in progress.

use std::ffi::{c_char, c_void};
use std::ptr::NonNull;
use std::time::Duration;

use tch::Tensor;
use torch_sys::C_tensor;

use super::options::GlooOptions;
use super::store::{Store, c_string, milliseconds};
use crate::libtorch::shim::{addresses, check_text};

unsafe extern "C" {
    fn qrnn_gloo_open(
        store: *mut c_void,
        prefix: *const c_char,
        address: *const c_char,
        rank: i32,
        size: i32,
        connections: i32,
        timeout_ms: i64,
        backend: *mut *mut c_void,
    ) -> *mut c_char;
    fn qrnn_nccl_open(
        store: *mut c_void,
        prefix: *const c_char,
        rank: i32,
        size: i32,
        timeout_ms: i64,
        backend: *mut *mut c_void,
    ) -> *mut c_char;
    fn qrnn_all_reduce(
        backend: *mut c_void,
        tensor: *const C_tensor,
        pieces: i64,
        work: *mut *mut c_void,
    ) -> *mut c_char;
    fn qrnn_broadcast(
        backend: *mut c_void,
        tensor: *const C_tensor,
        root: i32,
        work: *mut *mut c_void,
    ) -> *mut c_char;
    fn qrnn_all_gather(
        backend: *mut c_void,
        all: *const C_tensor,
        one: *const C_tensor,
        work: *mut *mut c_void,
    ) -> *mut c_char;
    fn qrnn_work_wait(work: *mut c_void, timeout_ms: i64, done: *mut bool) -> *mut c_char;
    fn qrnn_work_poll(work: *mut c_void, done: *mut bool) -> *mut c_char;
    fn qrnn_work_free(work: *mut c_void);
    fn qrnn_backend_abort(backend: *mut c_void) -> *mut c_char;
    fn qrnn_backend_close(backend: *mut c_void);
    fn qrnn_gradient_sums_begin(
        backend: *mut c_void,
        leaves: *const *const C_tensor,
        n: usize,
        pieces: i64,
        sums: *mut *mut c_void,
    ) -> *mut c_char;
    fn qrnn_gradient_sums_end(sums: *mut c_void, work: *mut *mut c_void) -> *mut c_char;
    fn qrnn_gradient_sums_free(sums: *mut c_void);
}

/// Ranks that are connected. Errors are the messages of c10d.
#[derive(Debug)]
pub(super) struct Backend {
    at: NonNull<c_void>,
    pieces: i64,
}

// SAFETY: c10d's backends queue operations under a lock of their own, from any thread.
unsafe impl Send for Backend {}
// SAFETY: as above.
unsafe impl Sync for Backend {}

impl Backend {
    /// Connects all ranks for tensors on the CPU.
    ///
    /// * `address`: of this machine; empty to use what GLOO_SOCKET_IFNAME names.
    pub fn gloo(
        store: &Store,
        prefix: &str,
        address: &str,
        (rank, size): (usize, usize),
        options: GlooOptions,
        timeout: Duration,
    ) -> Result<Self, String> {
        let (prefix, address) = (c_string(prefix)?, c_string(address)?);
        let mut backend = std::ptr::null_mut();
        // SAFETY: the store lives, the strings are C strings, and the out parameter is valid for the call.
        unsafe {
            check_text(qrnn_gloo_open(
                store.as_ptr(),
                prefix.as_ptr(),
                address.as_ptr(),
                rank as i32,
                size as i32,
                options.connections.max(1) as i32,
                milliseconds(timeout),
                &mut backend,
            ))?;
        }
        Self::of(backend, options.pieces.max(1) as i64)
    }

    /// Makes a group for tensors on GPUs. Its ranks are connected by the first operation.
    pub fn nccl(
        store: &Store,
        prefix: &str,
        (rank, size): (usize, usize),
        timeout: Duration,
    ) -> Result<Self, String> {
        let prefix = c_string(prefix)?;
        let mut backend = std::ptr::null_mut();
        let timeout = milliseconds(timeout);
        // SAFETY: as for `gloo`.
        unsafe {
            check_text(qrnn_nccl_open(
                store.as_ptr(),
                prefix.as_ptr(),
                rank as i32,
                size as i32,
                timeout,
                &mut backend,
            ))?;
        }
        Self::of(backend, 1)
    }

    fn of(backend: *mut c_void, pieces: i64) -> Result<Self, String> {
        Ok(Self { at: NonNull::new(backend).ok_or("no group was made")?, pieces })
    }

    /// Begins to sum a contiguous tensor over all ranks, in place.
    pub fn all_reduce(&self, tensor: &Tensor) -> Result<Work, String> {
        // SAFETY: the backend and the tensor live; c10d keeps the tensor until the operation has ended.
        Work::of(|work| unsafe {
            qrnn_all_reduce(self.at.as_ptr(), tensor.as_ptr(), self.pieces, work)
        })
    }

    /// Begins to copy a contiguous tensor of rank `root` to all ranks.
    pub fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<Work, String> {
        // SAFETY: as for `all_reduce`.
        Work::of(|work| unsafe {
            qrnn_broadcast(self.at.as_ptr(), tensor.as_ptr(), root as i32, work)
        })
    }

    /// Begins to copy `one` of each rank to `all`, (world size, …), in the order of the ranks.
    pub fn all_gather(&self, all: &Tensor, one: &Tensor) -> Result<Work, String> {
        // SAFETY: as for `all_reduce`.
        Work::of(|work| unsafe {
            qrnn_all_gather(self.at.as_ptr(), all.as_ptr(), one.as_ptr(), work)
        })
    }

    /// From now on, sums the gradients of these leaves as soon as a backward pass has made them.
    pub fn watch_gradients(&self, leaves: &[&Tensor]) -> Result<WatchedGradients, String> {
        let leaves = addresses(leaves.iter().copied());
        let mut sums = std::ptr::null_mut();
        // SAFETY: the leaves live during the call, which keeps its own references to them.
        unsafe {
            let (leaves, n) = (leaves.as_ptr(), leaves.len());
            let backend = self.at.as_ptr();
            check_text(qrnn_gradient_sums_begin(backend, leaves, n, self.pieces, &mut sums))?;
        }
        Ok(WatchedGradients(NonNull::new(sums).ok_or("no hooks were set")?))
    }

    /// Ends the operations in progress, which no rank will complete.
    pub fn abort(&self) {
        // SAFETY: the backend lives. Its error would add nothing to the one that led here.
        let _ = unsafe { check_text(qrnn_backend_abort(self.at.as_ptr())) };
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: closed once, and not used after.
        unsafe { qrnn_backend_close(self.at.as_ptr()) }
    }
}

/// An operation in progress.
#[derive(Debug)]
pub(super) struct Work(NonNull<c_void>);

// SAFETY: c10d's work objects may be waited for by any thread.
unsafe impl Send for Work {}

impl Work {
    fn of(begin: impl FnOnce(*mut *mut c_void) -> *mut c_char) -> Result<Self, String> {
        let mut work = std::ptr::null_mut();
        // SAFETY: `begin` returns the message of a shim.
        unsafe { check_text(begin(&mut work))? };
        Ok(Self(NonNull::new(work).ok_or("no operation was begun")?))
    }

    /// Makes the current stream of the GPU wait for the operation, and not the host.
    pub fn wait_on_stream(&self) -> Result<(), String> {
        let mut done = false;
        // SAFETY: the work lives, and `done` is valid for the call. A time of 0 is no limit.
        unsafe { check_text(qrnn_work_wait(self.0.as_ptr(), 0, &mut done)) }
    }

    /// Waits on the host for at most this time; whether the operation is done.
    pub fn wait(&self, time: Duration) -> Result<bool, String> {
        let mut done = false;
        // SAFETY: the work lives, and `done` is valid for the call.
        unsafe { check_text(qrnn_work_wait(self.0.as_ptr(), milliseconds(time), &mut done))? };
        Ok(done)
    }

    /// Whether the operation is done, also on a GPU.
    pub fn poll(&self) -> Result<bool, String> {
        let mut done = false;
        // SAFETY: as for `wait`.
        unsafe { check_text(qrnn_work_poll(self.0.as_ptr(), &mut done))? };
        Ok(done)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: freed once; c10d keeps its own reference to an operation in progress.
        unsafe { qrnn_work_free(self.0.as_ptr()) }
    }
}

/// Hooks on the leaves of a backward pass.
#[derive(Debug)]
pub(super) struct WatchedGradients(NonNull<c_void>);

impl WatchedGradients {
    /// Removes the hooks, after the backward pass; returns the sums that it has begun.
    pub fn end(self) -> Result<Work, String> {
        let at = self.0.as_ptr();
        std::mem::forget(self);
        // SAFETY: the call takes the hooks, and nothing uses them after.
        Work::of(|work| unsafe { qrnn_gradient_sums_end(at, work) })
    }
}

impl Drop for WatchedGradients {
    fn drop(&mut self) {
        // SAFETY: freed once: `end` forgets it.
        unsafe { qrnn_gradient_sums_free(self.0.as_ptr()) }
    }
}
