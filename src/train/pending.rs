//! Steps in flight: submitted to the device, loss not yet copied back (the copy synchronizes).

use std::time::Instant;

use qrnn_ops::libtorch::{download, host_tensor};
use tch::{Device, Kind, Tensor};

use crate::Result;

/// Losses that are copied back at once from a GPU: as many as there are steps between two lines of the log,
/// since each copy synchronizes.
const ON_GPU: usize = super::metrics::LOG_EVERY as usize;

/// Submitted steps, in their order.
#[derive(Debug)]
pub(super) struct PendingSteps {
    capacity: usize,
    steps: Vec<PendingStep>,
    /// When the first of them was submitted.
    since: Option<Instant>,
}

#[derive(Debug)]
struct PendingStep {
    /// A scalar on the device.
    loss: Tensor,
    tokens: usize,
    rate: f64,
}

/// A step whose loss is known.
pub(super) struct FinishedStep {
    /// Nats per token, without regularizers.
    pub loss: f64,
    pub tokens: usize,
    pub rate: f64,
    /// Its share of the time since the first of the steps that were read with it was submitted.
    pub seconds: f64,
}

impl PendingSteps {
    /// * `capacity`: steps whose losses are copied back at once; `None` for the best number on the device.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] where memory runs out.
    pub fn new(capacity: Option<usize>, device: Device) -> Result<Self> {
        let capacity = capacity.unwrap_or(if device == Device::Cpu { 1 } else { ON_GPU });
        // Pinned memory for the first copy, in libtorch's pool: pinning is slow.
        drop(host_tensor(&[capacity as i64], Kind::Float, device)?);
        Ok(Self { capacity, steps: vec![], since: None })
    }

    /// When the clock of a step that is submitted now starts.
    pub fn clock(&self) -> Instant {
        self.since.unwrap_or_else(Instant::now)
    }

    /// Adds a step; `since` is what [`PendingSteps::clock`] returned before it.
    pub fn push(&mut self, since: Instant, loss: Tensor, tokens: usize, rate: f64) {
        self.since = Some(since);
        self.steps.push(PendingStep { loss, tokens, rate });
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn tokens(&self) -> usize {
        self.steps.iter().map(|step| step.tokens).sum()
    }

    pub fn is_full(&self) -> bool {
        self.steps.len() >= self.capacity
    }

    /// Waits for all steps and removes them: one copy to the host.
    pub fn take_finished(&mut self) -> Result<Vec<FinishedStep>> {
        let Some(since) = self.since.take() else { return Ok(vec![]) };
        let steps = std::mem::take(&mut self.steps);
        let losses: Vec<_> = steps.iter().map(|step| &step.loss).collect();
        let losses = download(&Tensor::f_stack(&losses, 0)?)?;
        let seconds = since.elapsed().as_secs_f64() / steps.len() as f64;
        let finished = |(step, loss): (PendingStep, f64)| {
            let PendingStep { tokens, rate, .. } = step;
            FinishedStep { loss, tokens, rate, seconds }
        };
        Ok(steps.into_iter().zip(losses).map(finished).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_in_their_order_and_once() {
        let mut pending = PendingSteps::new(Some(3), Device::Cpu).unwrap();
        assert!(pending.take_finished().unwrap().is_empty());
        for i in 0..3 {
            assert!(!pending.is_full());
            let clock = pending.clock();
            pending.push(clock, Tensor::from(f64::from(i)), 10 + i as usize, 0.5);
        }
        assert!(pending.is_full());
        assert_eq!((pending.len(), pending.tokens()), (3, 33));
        let finished = pending.take_finished().unwrap();
        assert_eq!(finished.iter().map(|step| step.loss).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
        assert_eq!((pending.len(), pending.take_finished().unwrap().len()), (0, 0));
    }
}
