//! The pooling operations on a card: `kernels/fo_pool.cu` and, in `forget_mult`,
//! `kernels/forget_mult.cu`, launched on tensors, as differentiable operations.
//!
//! Whoever launches is given as a [`Launch`]: a card, or the tests' host shim, which runs the same
//! source on the CPU with tensors that lie there.

mod forget_mult;

use std::ptr;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

pub(super) use forget_mult::forget_mult;

use super::{Pooled, Zoneout, pooled};
use crate::autograd::{self, Backward, Forward, Function};
use crate::cuda::{Argument, Geometry, Kernel, Launch, Source, agree, numbers};
use crate::{Error, Result, profile};

/// What a thread a column needs.
pub(crate) const COLUMN: (&str, &str) = ("column.cuh", include_str!("../../kernels/column.cuh"));

/// fo-pooling with its gates.
pub(crate) static FO_POOL: Source = Source {
    name: "fo_pool.cu",
    text: include_str!("../../kernels/fo_pool.cu"),
    headers: &[COLUMN],
};

/// BLOCK of `kernels/column.cuh`: threads of a block.
const BLOCK: u32 = 64;

/// STEPS of `kernels/column.cuh`: the forward keeps the state before every STEPS-th step.
const STEPS: i64 = 8;

/// Sequence length, columns, features.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    seq: i32,
    batch: i32,
    hidden: i32,
}

impl Sizes {
    fn new(seq: i64, batch: i64, hidden: i64) -> Result<Self> {
        match [seq, batch, hidden].map(i32::try_from) {
            [Ok(seq), Ok(batch), Ok(hidden)] => Ok(Self { seq, batch, hidden }),
            _ => Err(Error::usage(
                "pooling on a card",
                format!("({seq}, {batch}, {hidden}) is more than its kernels count to"),
                "cut the tensor into several",
            )),
        }
    }

    /// From one row of the gates to the next, as the kernels count it.
    fn row(self, row: i64) -> Result<Argument> {
        let step = i64::from(self.batch).checked_mul(row).map(i32::try_from);
        match (step, i32::try_from(row)) {
            (Some(Ok(_)), Ok(row)) => Ok(Argument::Int(row)),
            _ => Err(Error::usage(
                "pooling on a card",
                format!(
                    "{} rows of {row} numbers a step are more than its kernels count to",
                    self.batch
                ),
                "use a smaller batch",
            )),
        }
    }

    /// A thread a column.
    fn geometry(self) -> Result<Geometry> {
        Geometry::of(i64::from(self.batch) * i64::from(self.hidden), BLOCK)
    }

    fn arguments(self) -> [Argument; 3] {
        [self.seq, self.batch, self.hidden].map(Argument::Int)
    }
}

/// The first of a contiguous tensor's numbers.
fn at(tensor: &Tensor) -> Argument {
    debug_assert!(tensor.is_contiguous());
    Argument::Pointer(tensor.data_ptr())
}

/// How many numbers after the one before it a row of gates (seq, batch, 3 hidden) begins; `None` where
/// the rows are not all that far apart, or their numbers not side by side.
fn row_stride(gates: &Tensor) -> Option<i64> {
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

/// As [`at`]; null where there is none.
fn at_or_null(tensor: Option<&Tensor>) -> Argument {
    tensor.map_or(Argument::Pointer(ptr::null_mut()), at)
}

fn contiguous(tensor: Option<&Tensor>) -> Result<Option<Tensor>> {
    Ok(tensor.map(Tensor::f_contiguous).transpose()?)
}

/// The settings of a call: tensors of the gates' kind and device.
#[derive(Debug)]
pub(super) struct Settings {
    pub zoneout: Zoneout,
    /// (batch, hidden) or (1, batch, hidden), multiplies the output.
    pub dropout: Option<Tensor>,
}

impl Settings {
    pub fn contiguous(&self) -> Result<Self> {
        let zoneout = match &self.zoneout {
            Zoneout::Off => Zoneout::Off,
            Zoneout::Scaled(keep) => Zoneout::Scaled(*keep),
            Zoneout::Masked(mask) => Zoneout::Masked(mask.f_contiguous()?),
        };
        Ok(Self { zoneout, dropout: contiguous(self.dropout.as_ref())? })
    }

    fn masks(&self) -> impl Iterator<Item = &Tensor> {
        let zoneout = match &self.zoneout {
            Zoneout::Masked(mask) => Some(mask),
            _ => None,
        };
        zoneout.into_iter().chain(&self.dropout)
    }

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
struct Outputs<'a> {
    /// (seq, batch, hidden or more), of the gates' kind.
    out: &'a Tensor,
    /// (batch, hidden), Float.
    last: &'a Tensor,
    /// (ceil(seq / STEPS), batch, hidden), Float: what the backward starts from.
    kept: Option<&'a Tensor>,
}

/// Runs the forward kernel.
///
/// # Safety
/// All tensors are contiguous, on the launcher's device, of the kinds and shapes said above; gates
/// (seq, batch, 3 hidden) of kind Float or BFloat16, whose rows are `row` numbers apart, before
/// (batch, hidden) of kind Float.
unsafe fn forward(
    launcher: &dyn Launch,
    (gates, row): (&Tensor, i64),
    before: &Tensor,
    settings: &Settings,
    outputs: &Outputs<'_>,
) -> Result<()> {
    let (seq, batch, width) = gates.size3()?;
    let sizes = Sizes::new(seq, batch, width / 3)?;
    let kernel = settings.kernel(
        gates.kind(),
        ["fo_pool_forward_f32", "fo_pool_forward_bf16"],
        ["fo_pool_forward_zoneout_f32", "fo_pool_forward_zoneout_bf16"],
    );
    let [mask, keep, dropout] = settings.arguments();
    let [seq, batch, hidden] = sizes.arguments();
    let (out, last, kept) = (at(outputs.out), at(outputs.last), at_or_null(outputs.kept));
    let (gates, before) = (Argument::Pointer(gates.data_ptr()), at(before));
    let (row, out_row) = (sizes.row(row)?, sizes.row(outputs.out.size3()?.2)?);
    let arguments = &mut [
        gates, before, mask, keep, dropout, out, last, kept, seq, batch, hidden, row, out_row,
    ];
    // SAFETY: the parameters of fo_pool_forward_* in order, and tensors by this function's contract.
    unsafe { launcher.launch(kernel, sizes.geometry()?, arguments) }
}

/// Tensors that a backward reads and writes; contiguous.
struct Gradients<'a> {
    /// As the forward wrote it.
    kept: &'a Tensor,
    /// (seq, batch, hidden or more), of the gates' kind.
    out: &'a Tensor,
    /// (batch, hidden), Float.
    last: Option<&'a Tensor>,
    /// Written: (seq, batch, 3 hidden), of the gates' kind and strides.
    gates: &'a Tensor,
    /// Written: (batch, hidden), Float.
    before: &'a Tensor,
}

/// Runs the backward kernel.
///
/// # Safety
/// As [`forward`].
unsafe fn backward(
    launcher: &dyn Launch,
    (gates, row): (&Tensor, i64),
    settings: &Settings,
    grads: &Gradients<'_>,
) -> Result<()> {
    let (seq, batch, width) = gates.size3()?;
    let sizes = Sizes::new(seq, batch, width / 3)?;
    let kernel = settings.kernel(
        gates.kind(),
        ["fo_pool_backward_f32", "fo_pool_backward_bf16"],
        ["fo_pool_backward_zoneout_f32", "fo_pool_backward_zoneout_bf16"],
    );
    let [mask, keep, dropout] = settings.arguments();
    let [seq, batch, hidden] = sizes.arguments();
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
        sizes.row(row)?,
        sizes.row(grads.out.size3()?.2)?,
    ];
    // SAFETY: the parameters of fo_pool_backward_* in order, and tensors by the contract.
    unsafe { launcher.launch(kernel, sizes.geometry()?, arguments) }
}

/// [`super::fo_pool`] on a card: gates of kind Float or BFloat16, a state of kind Float, shapes and
/// devices checked. The output's rows are `out_row` numbers, of which those after the features are a
/// one and zeros.
pub(super) fn fo_pool(
    launcher: Arc<dyn Launch>,
    gates: &Tensor,
    before: &Tensor,
    settings: Settings,
    out_row: i64,
) -> Result<Pooled> {
    // Where no gradient can be asked for, nothing is kept for one.
    let keep = gates.requires_grad() || before.requires_grad();
    let operation = FoPool { launcher, settings: settings.contiguous()?, keep, row: 0, out_row };
    pooled(autograd::apply(operation, &[gates, before])?)
}

/// One of the ways to pool gates with a state.
type Pool<'a> = &'a dyn Fn(&Tensor, &Tensor) -> Result<Pooled>;

/// Small calls with their gradients, held against the CPU's.
///
/// # Errors
/// [`Error::Unavailable`] where they disagree.
pub(crate) fn try_out(launcher: &Arc<dyn Launch>, device: Device) -> Result<()> {
    // Several strides of time steps and several blocks; the rows of the gates further apart.
    let (seq, batch, hidden) = (19, 3, 50);
    let [gates, weights] =
        [3 * hidden + 10, hidden].map(|width| numbers(&[seq, batch, width], 2.0));
    let (gates, weights, before) = (gates?, weights?, numbers(&[batch, hidden], 1.0)?);
    for (kind, bound) in [(Kind::Float, 1e-5), (Kind::BFloat16, 1e-2)] {
        let [gates, weights] = [&gates, &weights].map(|tensor| tensor.f_to_kind(kind));
        let (gates, weights) = (gates?, weights?);
        let run = |device, kind, pool: Pool<'_>| -> Result<(Tensor, Tensor)> {
            let there = |tensor: &Tensor| tensor.f_to_device(device)?.f_to_kind(kind);
            let gates = there(&gates)?.f_narrow(2, 0, 3 * hidden)?.f_set_requires_grad(true)?;
            let output = pool(&gates, &before.f_to_device(device)?)?.output;
            let score = output.f_mul(&there(&weights)?)?.f_sum(Kind::Float)?;
            let mut grads = Tensor::f_run_backward(&[&score], &[&gates], false, false)?;
            Ok((output, grads.swap_remove(0)))
        };
        let (output, grad) = run(device, kind, &|gates, before| {
            let settings = Settings { zoneout: Zoneout::Off, dropout: None };
            let augmented = fo_pool(launcher.clone(), gates, before, settings, hidden + 6)?;
            let output = augmented.output.f_narrow(2, 0, hidden)?;
            Ok(Pooled { output, state: augmented.state })
        })?;
        let (exact, exact_grad) = run(Device::Cpu, Kind::Float, &|gates, before| {
            super::fo_pool(gates, before, Zoneout::Off)
        })?;
        agree(&format!("pooling in {kind:?}"), &output, &exact, bound)?;
        agree(&format!("gradient of pooling in {kind:?}"), &grad, &exact_grad, bound)?;
    }
    Ok(())
}

struct FoPool {
    launcher: Arc<dyn Launch>,
    settings: Settings,
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
        let moved = moved.chain(self.settings.masks()).chain(kept.as_ref());
        let _stage = profile::stage("pooling forward").over(moved);
        // SAFETY: rows found, made contiguous and allocated above; kinds and shapes by the contract of
        // `fo_pool`.
        unsafe { forward(&*self.launcher, (&gates, row), &before, &self.settings, &outputs)? };
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
        let options = (gates.kind(), gates.device());
        let grad_gates = Tensor::f_empty_strided(gates.size(), gates.stride(), options)?;
        let grad_before = Tensor::f_empty([batch, width / 3], (Kind::Float, gates.device()))?;
        let grads = Gradients {
            kept,
            out: &out,
            last: last.as_ref(),
            gates: &grad_gates,
            before: &grad_before,
        };
        let moved = [gates, kept, &out, &grad_gates, &grad_before].into_iter();
        let moved = moved.chain(self.settings.masks()).chain(&last);
        let _stage = profile::stage("pooling backward").over(moved);
        // SAFETY: as in `forward`; gradients have their tensors' kinds and shapes.
        unsafe { backward(&*self.launcher, (gates, self.row), &self.settings, &grads)? };
        Ok(vec![Some(grad_gates), Some(grad_before)])
    }
}

#[cfg(test)]
mod compiled;
#[cfg(test)]
mod padded;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod touched;
