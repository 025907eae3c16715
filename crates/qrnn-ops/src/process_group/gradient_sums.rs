//! Sums of gradients that begin while backward still makes others.

use tch::Device;

use super::backend::WatchedGradients;
use super::group::ProcessGroup;
use crate::Result;

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

impl<'a> GradientSums<'a> {
    pub(super) fn new(group: &'a ProcessGroup, watched: WatchedGradients, device: Device) -> Self {
        Self { group, watched: Some((watched, device)) }
    }

    /// Sums of a group of one.
    pub(super) fn of_one(group: &'a ProcessGroup) -> Self {
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
