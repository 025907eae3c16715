//! The state that is carried from window to window: each process has that of its columns.

use qrnn_ops::process_group::ProcessGroup;
use tch::{Device, Tensor};

use super::DataParallel;
use crate::Result;
use crate::model::State;

impl DataParallel {
    /// The state of all columns, from those of the processes' columns.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if another process has ended.
    pub fn gather_state(&self, state: &State) -> Result<State> {
        let Some(group) = &self.group else {
            return state.map(|tensor| Ok(tensor.shallow_clone()));
        };
        state.map(|tensor| {
            // By the host, since rank 0 writes it to a file.
            let whole = self.gather_columns(group, &tensor.f_to_device(Device::Cpu)?, 0)?;
            Ok(whole.f_to_device(tensor.device())?)
        })
    }

    /// The state of this process's columns, from that of all.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub fn own_state(&self, state: &State) -> Result<State> {
        let (first, n) = (self.columns.start as i64, self.columns.len() as i64);
        state.map(|tensor| Ok(tensor.f_narrow(0, first, n)?.f_contiguous()?))
    }

    /// The columns of all processes, joined along dimension `dim`.
    pub(super) fn gather_columns(
        &self,
        group: &ProcessGroup,
        own: &Tensor,
        dim: i64,
    ) -> Result<Tensor> {
        // All ranks give as many columns as the largest share has.
        let largest = self.batch.div_ceil(group.world_size()) as i64;
        let missing = largest - self.columns.len() as i64;
        let padded = if missing > 0 {
            let padding = own.f_narrow(dim, 0, 1)?.f_zeros_like()?;
            Tensor::f_cat(&[own, &padding], dim)?
        } else {
            own.f_contiguous()?
        };
        let all = group.all_gather(&padded)?;
        let n = group.world_size();
        let of_rank = |rank: usize| {
            let columns = qrnn_ops::process_group::share(self.batch, rank, n).len() as i64;
            Ok(all.f_select(0, rank as i64)?.f_narrow(dim, 0, columns)?)
        };
        let parts = (0..n).map(of_rank).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&parts, dim)?)
    }
}
