//! Timers of the stages of a training step. They are global, and off until [`start`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::Device;

use crate::cuda::{Clock, Timestamp};
use crate::{Error, Result};

/// Whether `RECORDING` is set: all that a stage reads while the profile is off.
static ENABLED: AtomicBool = AtomicBool::new(false);
static RECORDING: Mutex<Option<Recording>> = Mutex::new(None);

/// A stage of a training step. Stages do not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Embedding,
    InputShift,
    DropoutMasks,
    Rounding,
    MatrixProducts,
    BiasGradients,
    PoolingForward,
    PoolingBackward,
    /// Softmax, its bias and its gradient on the CPU.
    Softmax,
    /// The same on a GPU.
    CrossEntropy,
    GradientNorm,
    Optimizer,
    /// Sums, gathers and broadcasts over the ranks of a group, waiting for the others included.
    GroupOperations,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::InputShift => "input shifted",
            Self::DropoutMasks => "dropout masks",
            Self::Rounding => "rounding to bf16",
            Self::MatrixProducts => "matrix products",
            Self::BiasGradients => "bias gradients",
            Self::PoolingForward => "pooling forward",
            Self::PoolingBackward => "pooling backward",
            Self::Softmax => "softmax",
            Self::CrossEntropy => "cross entropy",
            Self::GradientNorm => "gradient norm",
            Self::Optimizer => "optimizer",
            Self::GroupOperations => "sums over processes",
        }
    }
}

/// Measurements since [`start`].
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Stage and seconds of each execution, in order.
    pub spans: Vec<(Stage, f64)>,
}

impl Profile {
    /// Total seconds of each stage.
    pub fn totals(&self) -> BTreeMap<Stage, f64> {
        let mut totals = BTreeMap::new();
        for (stage, seconds) in &self.spans {
            *totals.entry(*stage).or_default() += seconds;
        }
        totals
    }
}

/// Measurements in progress. Timestamps of a GPU are read in [`stop`], so that nothing synchronizes before.
struct Recording {
    clock: Clock,
    spans: Vec<(Stage, Timestamp, Timestamp)>,
    error: Option<Error>,
}

impl Recording {
    fn timestamp(&mut self) -> Option<Timestamp> {
        self.clock.record().map_err(|error| self.error.get_or_insert(error)).ok()
    }
}

/// Starts a new recording, by the clock of this device.
///
/// # Errors
/// As [`Clock::of`].
pub fn start(device: Device) -> Result<()> {
    *recording() = Some(Recording { clock: Clock::of(device)?, spans: vec![], error: None });
    ENABLED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Stops the recording and returns its measurements, none if there is no recording. Synchronizes with a GPU.
///
/// # Errors
/// [`Error::Cuda`] if a timestamp of the GPU failed.
pub fn stop() -> Result<Profile> {
    ENABLED.store(false, Ordering::Relaxed);
    let Some(recording) = recording().take() else { return Ok(Profile::default()) };
    if let Some(error) = recording.error {
        return Err(error);
    }
    let seconds = |(stage, start, end): &(_, Timestamp, Timestamp)| Ok((*stage, end.since(start)?));
    Ok(Profile { spans: recording.spans.iter().map(seconds).collect::<Result<_>>()? })
}

/// Times a stage until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Span(Option<(Stage, Timestamp)>);

/// Starts a stage.
pub fn span(stage: Stage) -> Span {
    if !ENABLED.load(Ordering::Relaxed) {
        return Span(None);
    }
    let start = recording().as_mut().and_then(Recording::timestamp);
    Span(start.map(|start| (stage, start)))
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some((stage, start)) = self.0.take() else { return };
        if let Some(recording) = &mut *recording()
            && let Some(end) = recording.timestamp()
        {
            recording.spans.push((stage, start, end));
        }
    }
}

fn recording() -> MutexGuard<'static, Option<Recording>> {
    RECORDING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests may run stages at the same time, but no operation of this crate is an embedding.
    #[test]
    fn a_stage_is_timed_while_enabled() {
        let run = || {
            let _span = span(Stage::Embedding);
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        run();
        start(Device::Cpu).unwrap();
        run();
        run();
        let profile = stop().unwrap();
        let spans = profile.spans.iter().filter(|(stage, _)| *stage == Stage::Embedding);
        assert!(spans.clone().all(|(_, seconds)| (0.002..1.0).contains(seconds)));
        assert_eq!(spans.count(), 2);
        assert!(profile.totals()[&Stage::Embedding] > 0.004);
        run();
        start(Device::Cpu).unwrap();
        assert!(!stop().unwrap().totals().contains_key(&Stage::Embedding));
    }
}
