//! Steps whose losses were not read yet: on a GPU, to read one means to wait for it.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use crate::Result;
use qrnn_ops::libtorch::{download, host_tensor};

/// Losses that are read at once from a GPU, as many as there are steps between two lines of the log:
/// each reading waits for the GPU. What a user sees of a run comes in bursts of so many steps.
const ON_GPU: usize = super::metrics::LOG_EVERY as usize;

/// Steps that were begun, in their order.
#[derive(Debug)]
pub(super) struct PendingSteps {
    /// How many to read at once.
    most: usize,
    steps: Vec<(Tensor, usize, f64)>,
    /// When the first of them was begun.
    since: Option<Instant>,
}

/// A step whose loss is known.
pub(super) struct FinishedStep {
    /// Nats a word, without regularizers.
    pub loss: f64,
    pub words: usize,
    pub rate: f64,
    /// Its share of the time since the first of those read with it was begun.
    pub seconds: f64,
}

impl PendingSteps {
    /// None yet; `most` are to be read at once, or as many as are best on the device.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] where memory runs out.
    pub fn new(most: Option<usize>, device: Device) -> Result<Self> {
        let most = most.unwrap_or(if device == Device::Cpu { 1 } else { ON_GPU });
        // So that the first reading finds its page-locked memory in libtorch's pool: the system takes
        // long to lock pages.
        drop(host_tensor(&[most as i64], Kind::Float, device)?);
        Ok(Self { most, steps: vec![], since: None })
    }

    /// When the time of a step that is to be begun now starts to count.
    pub fn clock(&self) -> Instant {
        self.since.unwrap_or_else(Instant::now)
    }

    /// Adds a step; `since` is what [`PendingSteps::clock`] said before it.
    pub fn add(&mut self, since: Instant, loss: Tensor, words: usize, rate: f64) {
        self.since = Some(since);
        self.steps.push((loss, words, rate));
    }

    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    pub fn words(&self) -> usize {
        self.steps.iter().map(|(_, words, _)| words).sum()
    }

    /// Whether it is time to read.
    pub fn is_full(&self) -> bool {
        self.steps.len() >= self.most
    }

    /// Waits for all steps and takes them out: one copy to the host.
    pub fn read(&mut self) -> Result<Vec<FinishedStep>> {
        let Some(since) = self.since.take() else { return Ok(vec![]) };
        let steps = std::mem::take(&mut self.steps);
        let losses: Vec<_> = steps.iter().map(|(loss, ..)| loss).collect();
        let losses = download(&Tensor::f_stack(&losses, 0)?)?;
        let seconds = since.elapsed().as_secs_f64() / steps.len() as f64;
        let done = |((_, words, rate), loss)| FinishedStep { loss, words, rate, seconds };
        Ok(steps.into_iter().zip(losses).map(done).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_in_their_order_and_once() {
        let mut pending = PendingSteps::new(Some(3), Device::Cpu).unwrap();
        assert!(pending.read().unwrap().is_empty());
        for i in 0..3 {
            assert!(!pending.is_full());
            let clock = pending.clock();
            pending.add(clock, Tensor::from(f64::from(i)), 10 + i as usize, 0.5);
        }
        assert!(pending.is_full());
        assert_eq!((pending.steps(), pending.words()), (3, 33));
        let done = pending.read().unwrap();
        assert_eq!(done.iter().map(|done| done.loss).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
        assert_eq!((pending.steps(), pending.read().unwrap().len()), (0, 0));
    }
}
