//! Data-parallel training: the processes of a group train one model, each on some columns of every batch.
//!
//! Every process holds all weights and takes every step. Losses and gradients are sums over all columns, masks and
//! sequence lengths are those of the whole batch, so the steps are those of one process. Rank 0 reads and writes the
//! run's folder, and shows progress.

mod exchange;
mod gradients;
mod settings;
mod start;
mod state;

use std::ops::Range;

use qrnn_ops::process_group::ProcessGroup;
use tch::{Kind, Tensor};

use crate::evaluate::{EvalOptions, Evaluation, validate, validate_together};
use crate::interrupt::Interrupt;
use crate::model::{BatchShare, QrnnLm};
use crate::{Error, Result};

pub(super) use settings::Settings;

/// The part of a run that this process computes.
#[derive(Debug)]
pub(super) struct DataParallel {
    /// `None` for a run of one process.
    group: Option<ProcessGroup>,
    batch: usize,
    columns: Range<usize>,
    /// Whether gradients are summed while backward makes others.
    overlaps: bool,
    /// Whether rank 0 has a folder for checkpoints.
    pub saves: bool,
}

/// What all processes have agreed on after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreement {
    pub stop: bool,
    pub checkpoint: bool,
}

/// Checks that each process of a group gets a column of the batch.
///
/// # Errors
/// [`Error::Config`] if there are more processes than columns.
pub(super) fn check_columns(batch: usize, processes: usize) -> Result<()> {
    if processes <= batch {
        return Ok(());
    }
    Err(Error::config(
        "recipe.batch",
        batch,
        format!("each of the {processes} processes needs a column of the batch"),
        "start as many processes as there are columns at most, or use a larger recipe.batch",
    ))
}

/// Whether all processes of a group come to this error by themselves.
pub(super) fn is_common(error: &Error) -> bool {
    matches!(error, Error::Diverged { .. } | Error::Ops(qrnn_ops::Error::Group { .. }))
}

impl DataParallel {
    /// All of the run.
    pub fn alone(batch: usize) -> Self {
        Self { group: None, batch, columns: 0..batch, overlaps: false, saves: false }
    }

    /// The share of this process of a group.
    ///
    /// * `batch`: columns of a batch, of all processes; at least as many as there are processes;
    /// * `overlaps`: whether gradients are summed during backward; `None` for the default: on a GPU, unless the model
    ///   is adaptive, whose projections need the gradients of all tokens.
    pub fn new(group: &ProcessGroup, batch: usize, model: &QrnnLm, overlaps: Option<bool>) -> Self {
        let adaptive = model.config().widths.is_some();
        let overlaps = overlaps.unwrap_or(qrnn_ops::cuda::is_gpu(model.options().1)) && !adaptive;
        let columns = group.share(batch);
        Self { group: Some(group.clone()), batch, columns, overlaps, saves: false }
    }

    /// The group, if there are several processes.
    pub fn group(&self) -> Option<&ProcessGroup> {
        self.group.as_ref()
    }

    /// Whether this process reads and writes files.
    pub fn is_main(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.rank() == 0)
    }

    /// The columns of a batch that this process trains.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// The columns that this process trains, for masks.
    pub fn share(&self) -> BatchShare {
        let Range { start, end } = self.columns;
        BatchShare { batch: self.batch as i64, columns: start as i64..end as i64 }
    }

    /// Columns of a batch, of all processes.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The part of the batch that this process trains.
    pub fn weight(&self) -> f64 {
        self.columns.len() as f64 / self.batch as f64
    }

    /// Whether a step may be given up before it is done. The other processes of a group would wait for it.
    pub fn stops_within_step(&self, interrupt: &Interrupt) -> bool {
        self.group.is_none() && interrupt.requested()
    }

    /// Whether any process was asked to stop, and whether rank 0 wants a checkpoint. All get the same answer.
    ///
    /// # Errors
    /// [`Error::Ops`] if another process has ended.
    pub fn agree(&self, stop: bool, checkpoint: bool) -> Result<Agreement> {
        let Some(group) = &self.group else { return Ok(Agreement { stop, checkpoint }) };
        let number = |flag: bool| f64::from(u8::from(flag));
        let checkpoint = checkpoint && group.rank() == 0;
        let [stop, checkpoint] = group.sum_numbers([number(stop), number(checkpoint)])?;
        Ok(Agreement { stop: stop > 0.0, checkpoint: checkpoint > 0.0 })
    }

    /// Evaluates a model on token ids, each process of a group a part of them; `name` names the text in messages.
    ///
    /// # Errors
    /// Those of an evaluation; [`Error::Ops`] if another process has ended.
    pub fn validate(
        &self,
        model: &QrnnLm,
        tokens: &[u32],
        name: &str,
        options: &EvalOptions,
    ) -> Result<Evaluation> {
        match &self.group {
            Some(group) => validate_together(group, model, tokens, name, options),
            None => validate(model, tokens, name, options),
        }
    }

    /// Checks that all processes have the same weights to the bit, as equal steps from equal weights must give.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the rank whose weights differ.
    pub fn check_weights(&self, model: &QrnnLm) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        let checksum = checksum(model)?;
        let all = group.all_gather(&Tensor::f_from_slice(&[checksum])?)?;
        let all: Vec<i64> = Vec::try_from(all.f_view(-1)?)?;
        match all.iter().position(|other| *other != all[0]) {
            None => Ok(()),
            Some(rank) => Err(Error::mismatch(
                format!("rank {rank}"),
                "has other weights than rank 0 after the same steps: its processor rounds differently, or its memory \
                 has failed",
                "use machines with the same processor, and continue with `.resume(true)` from the last checkpoint",
            )),
        }
    }
}

/// The sum of the bits of all weights, which does not depend on the order of additions.
fn checksum(model: &QrnnLm) -> Result<i64> {
    let _no_grad = tch::no_grad_guard();
    let mut sum = 0_i64;
    for (_, parameter) in model.parameters() {
        let integers = match parameter.kind() {
            Kind::Double => Kind::Int64,
            _ => Kind::Int,
        };
        let bits = parameter.f_contiguous()?.f_view_dtype(integers)?;
        sum = sum.wrapping_add(bits.f_sum(Kind::Int64)?.f_int64_value(&[])?);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests;
