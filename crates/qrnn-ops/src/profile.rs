//! Where the time of a step goes: timers around the pieces of the work, off unless asked for.
//!
//! They are the process's own, for `reproduce bench`; a notebook's cell sees those of its own copy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::cuda::{Clock, Mark};
use crate::{Error, Result};

static WATCHING: AtomicBool = AtomicBool::new(false);
static SEEN: Mutex<Seen> = Mutex::new(Seen::new(Clock::Host));

/// What was seen since [`start`].
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Time in each piece of the work; they do not overlap.
    pub stages: BTreeMap<&'static str, Duration>,
    /// Seconds of each piece, in their order.
    pub spans: Vec<(&'static str, f64)>,
    /// Bytes that a piece read and wrote, where it says so.
    pub bytes: BTreeMap<&'static str, f64>,
    /// The matrix products, in their order.
    pub matmuls: Vec<MatmulShape>,
}

/// The shape of a matrix product, which its time depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MatmulShape {
    /// Rows of the result.
    pub rows: i64,
    /// Inner dimension.
    pub depth: i64,
    /// Columns of the result.
    pub columns: i64,
    /// Whether the first factor is row-major; otherwise it is column-major.
    pub a_by_rows: bool,
    /// Whether the second factor is row-major.
    pub b_by_rows: bool,
    /// Whether the product is added to the result's previous values.
    pub accumulates: bool,
    /// Kinds of the result and of both factors.
    pub kinds: [Kind; 3],
}

impl MatmulShape {
    /// The shape of `out` = `a` · `b`.
    pub(crate) fn of(out: &Tensor, a: &Tensor, b: &Tensor, accumulates: bool) -> Self {
        let (size_a, size_b) = (a.size(), b.size());
        Self {
            rows: size_a[0],
            depth: size_a[1],
            columns: size_b[1],
            a_by_rows: a.stride()[1] == 1,
            b_by_rows: b.stride()[1] == 1,
            accumulates,
            kinds: [out, a, b].map(Tensor::kind),
        }
    }

    /// Multiplications and additions.
    pub fn operations(&self) -> f64 {
        2.0 * self.rows as f64 * self.depth as f64 * self.columns as f64
    }
}

/// What is being seen. Moments on a GPU are asked for their time at the end: nothing waits before.
struct Seen {
    clock: Clock,
    stages: Vec<(&'static str, Mark, Mark)>,
    bytes: BTreeMap<&'static str, f64>,
    matmuls: Vec<MatmulShape>,
    failed: Option<Error>,
}

impl Seen {
    const fn new(clock: Clock) -> Self {
        let bytes = BTreeMap::new();
        Self { clock, stages: vec![], bytes, matmuls: vec![], failed: None }
    }

    fn mark(&mut self) -> Option<Mark> {
        self.clock.mark().map_err(|error| self.failed.get_or_insert(error)).ok()
    }
}

/// Forgets what was seen, and begins to watch the CPU's work.
pub fn start() {
    watch(Clock::Host);
}

/// As [`start`], for the work of a device.
///
/// # Errors
/// As [`Clock::of`].
pub fn start_on(device: Device) -> Result<()> {
    watch(Clock::of(device)?);
    Ok(())
}

fn watch(clock: Clock) {
    *lock() = Seen::new(clock);
    WATCHING.store(true, Ordering::Relaxed);
}

/// Stops watching, and returns what was seen; waits for it on a GPU.
///
/// # Errors
/// [`Error::Cuda`] where the GPU's clock failed.
pub fn stop() -> Result<Profile> {
    WATCHING.store(false, Ordering::Relaxed);
    let seen = std::mem::replace(&mut *lock(), Seen::new(Clock::Host));
    if let Some(error) = seen.failed {
        return Err(error);
    }
    let mut stages = BTreeMap::<_, Duration>::new();
    let mut spans = vec![];
    for (name, begun, ended) in &seen.stages {
        let seconds = ended.since(begun)?;
        *stages.entry(*name).or_default() += Duration::from_secs_f64(seconds);
        spans.push((*name, seconds));
    }
    Ok(Profile { stages, spans, bytes: seen.bytes, matmuls: seen.matmuls })
}

/// Times a piece of the work until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Stage(Option<(&'static str, Mark)>);

/// Begins a piece of the work; pieces must not contain one another.
pub fn stage(name: &'static str) -> Stage {
    match WATCHING.load(Ordering::Relaxed) {
        true => Stage(lock().mark().map(|begun| (name, begun))),
        false => Stage(None),
    }
}

impl Stage {
    /// Notes that the piece reads or writes each of these tensors once.
    pub fn over<'a>(self, tensors: impl IntoIterator<Item = &'a Tensor>) -> Self {
        if let Some((name, _)) = &self.0 {
            let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
            let bytes: usize = tensors.into_iter().map(bytes).sum();
            *lock().bytes.entry(*name).or_default() += bytes as f64;
        }
        self
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some((name, begun)) = self.0.take() {
            let seen = &mut *lock();
            if let Some(ended) = seen.mark() {
                seen.stages.push((name, begun, ended));
            }
        }
    }
}

/// Notes a matrix product where somebody watches.
pub(crate) fn matmul(shape: impl FnOnce() -> MatmulShape) {
    if WATCHING.load(Ordering::Relaxed) {
        lock().matmuls.push(shape());
    }
}

fn lock() -> std::sync::MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests may run pieces of the work meanwhile: this one's name is its own.
    #[test]
    fn a_piece_tells_its_time_and_its_bytes_once_watched() {
        const NAME: &str = "of the profile's test";
        let numbers = Tensor::zeros([5, 2], (Kind::BFloat16, Device::Cpu));
        let piece = || drop(stage(NAME).over([&numbers, &numbers]));
        piece();
        start_on(Device::Cpu).unwrap();
        piece();
        piece();
        let seen = stop().unwrap();
        let spans: Vec<_> = seen.spans.iter().filter(|(name, _)| *name == NAME).collect();
        assert_eq!((seen.bytes[NAME], spans.len()), (80.0, 2));
        let sum: f64 = spans.iter().map(|(_, seconds)| seconds).sum();
        assert!((seen.stages[NAME].as_secs_f64() - sum).abs() < 1e-6);
        piece();
        assert!(!stop().unwrap().bytes.contains_key(NAME));
    }
}
