//! Timers of the stages of a training step. They are global, and off until [`start`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::cuda::{Clock, Timestamp};
use crate::{Error, Result};

static ENABLED: AtomicBool = AtomicBool::new(false);
static RECORDING: Mutex<Recording> = Mutex::new(Recording::new(Clock::Host));

/// Measurements since [`start`].
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Total time of each stage; stages do not overlap.
    pub stages: BTreeMap<&'static str, Duration>,
    /// Name and seconds of each execution of a stage, in order.
    pub spans: Vec<(&'static str, f64)>,
    /// Bytes that a stage read and wrote, if it reports them ([`Stage::over`]).
    pub bytes: BTreeMap<&'static str, f64>,
    /// The matrix products, in order.
    pub matmuls: Vec<MatmulShape>,
}

/// Shape, layout and kinds of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MatmulShape {
    /// Rows of the result.
    pub rows: i64,
    /// Inner dimension.
    pub depth: i64,
    /// Columns of the result.
    pub columns: i64,
    /// Whether the first operand is row-major; otherwise it is column-major.
    pub a_by_rows: bool,
    /// Whether the second operand is row-major.
    pub b_by_rows: bool,
    /// Whether the product is added to the previous contents of the result.
    pub accumulates: bool,
    /// Kinds of the result and of both operands.
    pub kinds: [Kind; 3],
}

impl MatmulShape {
    /// `out` = `a` · `b`.
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

    /// Floating-point operations: multiplications and additions.
    pub fn operations(&self) -> f64 {
        2.0 * self.rows as f64 * self.depth as f64 * self.columns as f64
    }
}

/// Measurements in progress. Timestamps of a GPU are read in [`stop`], so that nothing synchronizes before.
struct Recording {
    clock: Clock,
    stages: Vec<(&'static str, Timestamp, Timestamp)>,
    bytes: BTreeMap<&'static str, f64>,
    matmuls: Vec<MatmulShape>,
    error: Option<Error>,
}

impl Recording {
    const fn new(clock: Clock) -> Self {
        let bytes = BTreeMap::new();
        Self { clock, stages: vec![], bytes, matmuls: vec![], error: None }
    }

    fn timestamp(&mut self) -> Option<Timestamp> {
        self.clock.record().map_err(|error| self.error.get_or_insert(error)).ok()
    }
}

/// Starts a new recording of work on the CPU.
pub fn start() {
    start_with(Clock::Host);
}

/// Starts a new recording of work on a device.
///
/// # Errors
/// As [`Clock::of`].
pub fn start_on(device: Device) -> Result<()> {
    start_with(Clock::of(device)?);
    Ok(())
}

fn start_with(clock: Clock) {
    *lock() = Recording::new(clock);
    ENABLED.store(true, Ordering::Relaxed);
}

/// Stops the recording and returns its measurements. Synchronizes with a GPU.
///
/// # Errors
/// [`Error::Cuda`] if a timestamp of the GPU failed.
pub fn stop() -> Result<Profile> {
    ENABLED.store(false, Ordering::Relaxed);
    let recording = std::mem::replace(&mut *lock(), Recording::new(Clock::Host));
    if let Some(error) = recording.error {
        return Err(error);
    }
    let mut stages = BTreeMap::<_, Duration>::new();
    let mut spans = vec![];
    for (name, start, end) in &recording.stages {
        let seconds = end.since(start)?;
        *stages.entry(*name).or_default() += Duration::from_secs_f64(seconds);
        spans.push((*name, seconds));
    }
    Ok(Profile { stages, spans, bytes: recording.bytes, matmuls: recording.matmuls })
}

/// Times a stage until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Stage(Option<(&'static str, Timestamp)>);

/// Starts a stage. Stages must not nest.
pub fn stage(name: &'static str) -> Stage {
    if ENABLED.load(Ordering::Relaxed) {
        Stage(lock().timestamp().map(|start| (name, start)))
    } else {
        Stage(None)
    }
}

impl Stage {
    /// Records that the stage reads or writes each of these tensors once.
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
        if let Some((name, start)) = self.0.take() {
            let recording = &mut *lock();
            if let Some(end) = recording.timestamp() {
                recording.stages.push((name, start, end));
            }
        }
    }
}

/// Records a matrix product.
pub(crate) fn matmul(shape: impl FnOnce() -> MatmulShape) {
    if ENABLED.load(Ordering::Relaxed) {
        lock().matmuls.push(shape());
    }
}

fn lock() -> std::sync::MutexGuard<'static, Recording> {
    RECORDING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests may run stages at the same time, with other names.
    #[test]
    fn a_stage_records_time_and_bytes_while_enabled() {
        const NAME: &str = "of the profile's test";
        let tensor = Tensor::zeros([5, 2], (Kind::BFloat16, Device::Cpu));
        let run = || drop(stage(NAME).over([&tensor, &tensor]));
        run();
        start_on(Device::Cpu).unwrap();
        run();
        run();
        let profile = stop().unwrap();
        let spans: Vec<_> = profile.spans.iter().filter(|(name, _)| *name == NAME).collect();
        assert_eq!((profile.bytes[NAME], spans.len()), (80.0, 2));
        let sum: f64 = spans.iter().map(|(_, seconds)| seconds).sum();
        assert!((profile.stages[NAME].as_secs_f64() - sum).abs() < 1e-6);
        run();
        assert!(!stop().unwrap().bytes.contains_key(NAME));
    }
}
