//! Rounds the CUDA copies of the weights, while a model is compressed.

use qrnn_ops::cuda;

use super::copy_grid::CopyGrid;
use super::lm::QrnnLm;
use super::operands::Operands;
use crate::Result;

impl QrnnLm {
    /// Whether all products of a training step can read rounded copies: on CUDA, unless weights are dropped, which
    /// multiplies the parameters.
    pub(crate) fn can_round_copies(&self) -> bool {
        cuda::is_gpu(self.options.1) && self.config.weight_drop == 0.0
    }

    /// From now on, training steps read copies of the weights that are rounded to these grids, one for each parameter,
    /// and their gradients are those of the exact weights. `None` ends it. The copies become out of date.
    pub(crate) fn round_copies(&mut self, grids: Option<Vec<Option<CopyGrid>>>) {
        self.copy_grids = grids;
        if let Some(operands) = &mut self.operands {
            operands.versions.clear();
        }
    }

    /// The grids of the copies, in the order of [`QrnnLm::parameters`]; `None` if they are not rounded.
    pub(crate) fn copy_grids(&self) -> Option<&[Option<CopyGrid>]> {
        self.copy_grids.as_deref()
    }

    /// The model on rounded weights, as its copies have them; `None` if they are not rounded.
    pub(super) fn on_grids(&self) -> Result<Option<Self>> {
        let Some(grids) = &self.copy_grids else { return Ok(None) };
        let mut grids = grids.iter();
        let rounded = self.with_parameters(None, |parameter| match grids.next() {
            Some(Some(grid)) => grid.round(parameter),
            _ => Ok(parameter.shallow_clone()),
        });
        rounded.map(Some)
    }

    /// The copies, if they are rounded and up to date: the embedding then reads them as well.
    pub(super) fn rounded_copies(&self) -> Result<Option<&Operands>> {
        if self.copy_grids.is_some() { self.operands() } else { Ok(None) }
    }
}
