//! Sums of gradients that begin while backward still makes others.

use tch::{Device, Tensor};

use super::backend::{WatchedGradients, Work};
use super::diagnosis::Failure;
use super::group::ProcessGroup;
use crate::{Error, Result};

/// The sums of [`ProcessGroup::sum_gradients`] for one backward pass.
///
/// The gradients that the backward pass returns are then those of all ranks, once [`GradientSums::finish`] has
/// returned. Works with `torch::autograd::grad` as well ([`tch::Tensor::f_run_backward`]), which
/// c10d's Reducer, the engine of DistributedDataParallel, does not.
#[derive(Debug)]
pub struct GradientSums<'a> {
    group: &'a ProcessGroup,
    watched: Option<(WatchedGradients, Device)>,
}

impl ProcessGroup {
    /// From now on, sums the gradients of these leaves over all ranks, in this order, as soon as a backward pass has
    /// made them. [`GradientSums::finish`] waits for them.
    ///
    /// # Errors
    /// [`Error::Torch`] for a tensor that needs no gradient.
    pub fn sum_gradients(&self, leaves: &[&Tensor]) -> Result<GradientSums<'_>> {
        let Some(connected) = &self.0.connected else { return Ok(GradientSums::of_one(self)) };
        self.check_intact()?;
        let device = leaves.first().map_or(Device::Cpu, |leaf| leaf.device());
        // Also where the backward pass fails: the next operation must not be taken for an earlier one.
        leaves.iter().for_each(|_| connected.monitor.operation_begins());
        let watched = connected.backend(device)?.watch_gradients(leaves);
        let watched = watched.map_err(|problem| Error::Torch(tch::TchError::Torch(problem)))?;
        Ok(GradientSums::new(self, watched, device))
    }

    /// Waits for the sums of [`ProcessGroup::sum_gradients`].
    fn complete_gradients(&self, work: Result<Work, String>, device: Device) -> Result<()> {
        let Some(connected) = &self.0.connected else { return Ok(()) };
        let work = work.map_err(|problem| self.explain(connected, Failure::Failed(&problem)))?;
        self.complete(connected, work, device)
    }
}

impl<'a> GradientSums<'a> {
    fn new(group: &'a ProcessGroup, watched: WatchedGradients, device: Device) -> Self {
        Self { group, watched: Some((watched, device)) }
    }

    /// Sums of a group of one.
    fn of_one(group: &'a ProcessGroup) -> Self {
        Self { group, watched: None }
    }

    /// Waits for the sums; on a GPU, its current stream waits for them, and not the host.
    ///
    /// # Errors
    /// [`crate::Error::Group`] naming a rank that has ended or does not answer.
    pub fn finish(self) -> Result<()> {
        match self.watched {
            Some((watched, device)) => self.group.complete_gradients(watched.end(), device),
            None => Ok(()),
        }
    }
}
