//! The pooling operations on a card: `kernels/fo_pool.cu` and, in `forget_mult`,
//! `kernels/forget_mult.cu`, launched on tensors, as differentiable operations.
//!
//! Whoever launches is given as a [`Launch`]: a card, or the tests' host shim, which runs the same
//! source on the CPU with tensors that lie there.

use std::sync::Arc;

use tch::{Kind, Tensor};

use super::shape::{Shape, at, at_or_null, contiguous};
use crate::autograd::{self, Backward, Forward, Function};
use crate::cuda::headers::COLUMN;
use crate::cuda::{Argument, Kernel, Launch, Source};
use crate::fo_pool::options::{FoPoolOptions, Pooled, Zoneout, pooled};
use crate::{Result, profile};

/// fo-pooling with its gates.
pub(crate) static FO_POOL: Source = Source {
    name: "fo_pool.cu",
    text: include_str!("../../../kernels/fo_pool.cu"),
    headers: &[COLUMN],
};

/// STEPS of `kernels/column.cuh`: the forward keeps the state before every STEPS-th step.
pub(super) const STEPS: i64 = 8;

/// How many numbers after the one before it a row of gates (seq, batch, 3 hidden) begins; `None` where
/// the rows are not all that far apart, or their numbers not side by side.
pub(super) fn row_stride(gates: &Tensor) -> Option<i64> {
    let ([seq, batch, width], [by_step, by_row, 1]) =
        (<[i64; 3]>::try_from(gates.size()).ok()?, <[i64; 3]>::try_from(gates.stride()).ok()?)
    else {
        return None;
    };
    // Where there is but one of something, its stride says nothing.
    let row = match (seq, batch) {
        (1, 1) => width,
        (_, 1) => by_step,
        _ => by_row,
    };
    (row >= width && (seq == 1 || by_step == batch * row)).then_some(row)
}

/// Gates whose rows lie evenly, and how far apart: as they are, or a copy.
fn in_rows(gates: &Tensor) -> Result<(Tensor, i64)> {
    match row_stride(gates) {
        Some(row) => Ok((gates.shallow_clone(), row)),
        None => Ok((gates.f_contiguous()?, gates.size3()?.2)),
    }
}

impl FoPoolOptions {
    /// The zoneout mask, the factor, the dropout mask, as the kernels take them.
    fn arguments(&self) -> [Argument; 3] {
        let (mask, keep) = match &self.zoneout {
            Zoneout::Off => (None, 1.0),
            Zoneout::Scaled(keep) => (None, *keep),
            Zoneout::Masked(mask) => (Some(mask), 1.0),
        };
        [at_or_null(mask), Argument::Float(keep as f32), at_or_null(self.dropout.as_ref())]
    }

    /// The kernels of a direction: in f32 and in bf16.
    fn kernel(&self, kind: Kind, plain: [&'static str; 2], masked: [&'static str; 2]) -> Kernel {
        let names = if matches!(self.zoneout, Zoneout::Masked(_)) { masked } else { plain };
        Kernel { source: &FO_POOL, name: names[usize::from(kind == Kind::BFloat16)] }
    }
}

/// Tensors that a forward writes; contiguous.
pub(super) struct Outputs<'a> {
    /// (seq, batch, hidden or more), of the gates' kind.
    pub out: &'a Tensor,
    /// (batch, hidden), Float.
    pub last: &'a Tensor,
    /// (ceil(seq / STEPS), batch, hidden), Float: what the backward starts from.
    pub kept: Option<&'a Tensor>,
}

/// Runs the forward kernel.
///
/// # Safety
/// All tensors are contiguous, on the launcher's device, of the kinds and shapes said above; gates
/// (seq, batch, 3 hidden) of kind Float or BFloat16, whose rows are `row` numbers apart, before
/// (batch, hidden) of kind Float.
pub(super) unsafe fn forward(
    launcher: &dyn Launch,
    (gates, row): (&Tensor, i64),
    before: &Tensor,
    options: &FoPoolOptions,
    outputs: &Outputs<'_>,
) -> Result<()> {
    let (seq, batch, width) = gates.size3()?;
    let shape = Shape::new(seq, batch, width / 3)?;
    let kernel = options.kernel(
        gates.kind(),
        ["fo_pool_forward_f32", "fo_pool_forward_bf16"],
        ["fo_pool_forward_zoneout_f32", "fo_pool_forward_zoneout_bf16"],
    );
    let [mask, keep, dropout] = options.arguments();
    let [seq, batch, hidden] = shape.arguments();
    let (out, last, kept) = (at(outputs.out), at(outputs.last), at_or_null(outputs.kept));
    let (gates, before) = (Argument::Pointer(gates.data_ptr()), at(before));
    let (row, out_row) = (shape.row(row)?, shape.row(outputs.out.size3()?.2)?);
    let arguments = &mut [
        gates, before, mask, keep, dropout, out, last, kept, seq, batch, hidden, row, out_row,
    ];
    // SAFETY: the parameters of fo_pool_forward_* in order, and tensors by this function's contract.
    unsafe { launcher.launch(kernel, shape.geometry()?, arguments) }
}

/// Tensors that a backward reads and writes; contiguous.
pub(super) struct Gradients<'a> {
    /// As the forward wrote it.
    pub kept: &'a Tensor,
    /// (seq, batch, hidden or more), of the gates' kind.
    pub out: &'a Tensor,
    /// (batch, hidden), Float.
    pub last: Option<&'a Tensor>,
    /// Written: (seq, batch, 3 hidden), of the gates' kind and strides.
    pub gates: &'a Tensor,
    /// Written: (batch, hidden), Float.
    pub before: &'a Tensor,
}

/// Runs the backward kernel.
///
/// # Safety
/// As [`forward`].
pub(super) unsafe fn backward(
    launcher: &dyn Launch,
    (gates, row): (&Tensor, i64),
    options: &FoPoolOptions,
    grads: &Gradients<'_>,
) -> Result<()> {
    let (seq, batch, width) = gates.size3()?;
    let shape = Shape::new(seq, batch, width / 3)?;
    let kernel = options.kernel(
        gates.kind(),
        ["fo_pool_backward_f32", "fo_pool_backward_bf16"],
        ["fo_pool_backward_zoneout_f32", "fo_pool_backward_zoneout_bf16"],
    );
    let [mask, keep, dropout] = options.arguments();
    let [seq, batch, hidden] = shape.arguments();
    let (kept, out, last) = (at(grads.kept), at(grads.out), at_or_null(grads.last));
    let grad_before = at(grads.before);
    let [gates, grad_gates] = [gates, grads.gates].map(|t| Argument::Pointer(t.data_ptr()));
    let arguments = &mut [
        gates,
        mask,
        keep,
        dropout,
        kept,
        out,
        last,
        grad_gates,
        grad_before,
        seq,
        batch,
        hidden,
        shape.row(row)?,
        shape.row(grads.out.size3()?.2)?,
    ];
    // SAFETY: the parameters of fo_pool_backward_* in order, and tensors by the contract.
    unsafe { launcher.launch(kernel, shape.geometry()?, arguments) }
}

/// [`super::fo_pool`] on a card: gates of kind Float or BFloat16, a state of kind Float, shapes and
/// devices checked. The output's rows are `out_row` numbers, of which those after the features are a
/// one and zeros.
pub fn fo_pool(
    launcher: Arc<dyn Launch>,
    gates: &Tensor,
    before: &Tensor,
    options: FoPoolOptions,
    out_row: i64,
) -> Result<Pooled> {
    // Where no gradient can be asked for, nothing is kept for one.
    let keep = gates.requires_grad() || before.requires_grad();
    let operation = FoPool { launcher, options: options.contiguous()?, keep, row: 0, out_row };
    pooled(autograd::apply(operation, &[gates, before])?)
}

struct FoPool {
    launcher: Arc<dyn Launch>,
    options: FoPoolOptions,
    /// Whether a backward may come.
    keep: bool,
    /// From one row of the gates to the next, once that is known.
    row: i64,
    /// From one row of the output to the next.
    out_row: i64,
}

impl Function for FoPool {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let (gates, row) = in_rows(inputs[0])?;
        let before = inputs[1].f_contiguous()?;
        self.row = row;
        let (seq, batch, width) = gates.size3()?;
        let (hidden, float) = (width / 3, (Kind::Float, gates.device()));
        let out = Tensor::f_empty([seq, batch, self.out_row], (gates.kind(), gates.device()))?;
        let last = Tensor::f_empty([batch, hidden], float)?;
        let strides = (seq + STEPS - 1) / STEPS;
        let kept =
            self.keep.then(|| Tensor::f_empty([strides, batch, hidden], float)).transpose()?;
        let outputs = Outputs { out: &out, last: &last, kept: kept.as_ref() };
        let moved = [&gates, &before, &out, &last].into_iter();
        let moved = moved.chain(self.options.masks()).chain(kept.as_ref());
        let _stage = profile::stage("pooling forward").over(moved);
        // SAFETY: rows found, made contiguous and allocated above; kinds and shapes by the contract of
        // `fo_pool`.
        unsafe { forward(&*self.launcher, (&gates, row), &before, &self.options, &outputs)? };
        let saved = kept.map_or(vec![], |kept| vec![gates, kept]);
        Ok(Forward { outputs: vec![out, last], saved })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [gates, kept] = call.saved else { unreachable!("two tensors were saved") };
        let (seq, batch, width) = gates.size3()?;
        let out = match contiguous(call.grads[0].as_ref())? {
            Some(grad) => grad,
            None => Tensor::f_zeros([seq, batch, self.out_row], (gates.kind(), gates.device()))?,
        };
        let last = contiguous(call.grads[1].as_ref())?;
        let like_gates = (gates.kind(), gates.device());
        let grad_gates = Tensor::f_empty_strided(gates.size(), gates.stride(), like_gates)?;
        let grad_before = Tensor::f_empty([batch, width / 3], (Kind::Float, gates.device()))?;
        let grads = Gradients {
            kept,
            out: &out,
            last: last.as_ref(),
            gates: &grad_gates,
            before: &grad_before,
        };
        let moved = [gates, kept, &out, &grad_gates, &grad_before].into_iter();
        let moved = moved.chain(self.options.masks()).chain(&last);
        let _stage = profile::stage("pooling backward").over(moved);
        // SAFETY: as in `forward`; gradients have their tensors' kinds and shapes.
        unsafe { backward(&*self.launcher, (gates, self.row), &self.options, &grads)? };
        Ok(vec![Some(grad_gates), Some(grad_before)])
    }
}
