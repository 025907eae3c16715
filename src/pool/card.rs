//! The pooling operations on a card: `kernels/fo_pool.cu` and `kernels/forget_mult.cu`, launched on
//! tensors, as differentiable operations.
//!
//! Whoever launches is given as a [`Launch`]: a card, or the tests' host shim, which runs the same
//! source on the CPU with tensors that lie there.

use std::ptr;
use std::sync::Arc;

use tch::{Kind, Tensor};

use super::{Pooled, Zoneout};
use crate::autograd::{self, Backward, Forward, Function};
use crate::cuda::{Argument, Geometry, Kernel, Launch, Source};
use crate::{Error, Result, profile};

/// What a thread a column needs.
pub(crate) const COLUMN: (&str, &str) = ("column.cuh", include_str!("../../kernels/column.cuh"));

/// fo-pooling with its gates.
pub(crate) static FO_POOL: Source = Source {
    name: "fo_pool.cu",
    text: include_str!("../../kernels/fo_pool.cu"),
    headers: &[COLUMN],
};

/// The forget-mult alone.
pub(crate) static FORGET_MULT: Source = Source {
    name: "forget_mult.cu",
    text: include_str!("../../kernels/forget_mult.cu"),
    headers: &[COLUMN],
};

/// BLOCK of `kernels/column.cuh`: threads of a block.
const BLOCK: u32 = 64;

/// STEPS of `kernels/column.cuh`: the forward keeps the state before every STEPS-th step.
pub(super) const STEPS: i64 = 8;

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
    /// (seq, batch, hidden), of the gates' kind.
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
/// (seq, batch, 3 hidden) of kind Float or BFloat16, before (batch, hidden) of kind Float.
unsafe fn forward(
    launcher: &dyn Launch,
    gates: &Tensor,
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
    let arguments =
        &mut [at(gates), at(before), mask, keep, dropout, out, last, kept, seq, batch, hidden];
    // SAFETY: the parameters of fo_pool_forward_* in order, and tensors by this function's contract.
    unsafe { launcher.launch(kernel, sizes.geometry()?, arguments) }
}

/// Tensors that a backward reads and writes; contiguous.
struct Gradients<'a> {
    /// As the forward wrote it.
    kept: &'a Tensor,
    /// (seq, batch, hidden), of the gates' kind.
    out: &'a Tensor,
    /// (batch, hidden), Float.
    last: Option<&'a Tensor>,
    /// Written: (seq, batch, 3 hidden), of the gates' kind.
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
    gates: &Tensor,
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
    let (grad_gates, grad_before) = (at(grads.gates), at(grads.before));
    let arguments = &mut [
        at(gates),
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
    ];
    // SAFETY: the parameters of fo_pool_backward_* in order, and tensors by the contract.
    unsafe { launcher.launch(kernel, sizes.geometry()?, arguments) }
}

/// [`super::fo_pool`] on a card: gates of kind Float or BFloat16, a state of kind Float, shapes and
/// devices checked.
pub(super) fn fo_pool(
    launcher: Arc<dyn Launch>,
    gates: &Tensor,
    before: &Tensor,
    settings: Settings,
) -> Result<Pooled> {
    // Where no gradient can be asked for, nothing is kept for one.
    let keep = gates.requires_grad() || before.requires_grad();
    let operation = FoPool { launcher, settings: settings.contiguous()?, keep };
    let mut outputs = autograd::apply(operation, &[gates, before])?.into_iter();
    match (outputs.next(), outputs.next()) {
        (Some(output), Some(state)) => Ok(Pooled { output, state }),
        _ => unreachable!("FoPool::forward returns two outputs"),
    }
}

struct FoPool {
    launcher: Arc<dyn Launch>,
    settings: Settings,
    /// Whether a backward may come.
    keep: bool,
}

impl Function for FoPool {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let (gates, before) = (inputs[0].f_contiguous()?, inputs[1].f_contiguous()?);
        let (seq, batch, width) = gates.size3()?;
        let (hidden, float) = (width / 3, (Kind::Float, gates.device()));
        let out = Tensor::f_empty([seq, batch, hidden], (gates.kind(), gates.device()))?;
        let last = Tensor::f_empty([batch, hidden], float)?;
        let strides = (seq + STEPS - 1) / STEPS;
        let kept =
            self.keep.then(|| Tensor::f_empty([strides, batch, hidden], float)).transpose()?;
        let outputs = Outputs { out: &out, last: &last, kept: kept.as_ref() };
        let moved = [&gates, &before, &out, &last].into_iter();
        let moved = moved.chain(self.settings.masks()).chain(kept.as_ref());
        let _stage = profile::stage("pooling forward").over(moved);
        // SAFETY: made contiguous and allocated above; kinds and shapes by `fo_pool`'s contract.
        unsafe { forward(&*self.launcher, &gates, &before, &self.settings, &outputs)? };
        let saved = kept.map_or(vec![], |kept| vec![gates, kept]);
        Ok(Forward { outputs: vec![out, last], saved })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [gates, kept] = call.saved else { unreachable!("two tensors were saved") };
        let (seq, batch, width) = gates.size3()?;
        let out = match contiguous(call.grads[0].as_ref())? {
            Some(grad) => grad,
            None => Tensor::f_zeros([seq, batch, width / 3], (gates.kind(), gates.device()))?,
        };
        let last = contiguous(call.grads[1].as_ref())?;
        let grad_gates = gates.f_empty_like()?;
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
        unsafe { backward(&*self.launcher, gates, &self.settings, &grads)? };
        Ok(vec![Some(grad_gates), Some(grad_before)])
    }
}

/// [`super::forget_mult`] on a card: f and x of kind Float or BFloat16, before of kind Float, shapes
/// and devices checked.
pub(super) fn forget_mult(
    launcher: Arc<dyn Launch>,
    f: &Tensor,
    x: &Tensor,
    before: &Tensor,
) -> Result<Tensor> {
    let mut outputs = autograd::apply(ForgetMult { launcher }, &[f, x, before])?.into_iter();
    outputs.next().ok_or_else(|| unreachable!("ForgetMult::forward returns one output"))
}

struct ForgetMult {
    launcher: Arc<dyn Launch>,
}

impl ForgetMult {
    fn kernel(kind: Kind, names: [&'static str; 2]) -> Kernel {
        Kernel { source: &FORGET_MULT, name: names[usize::from(kind == Kind::BFloat16)] }
    }
}

impl Function for ForgetMult {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let [f, x, before] = [0, 1, 2].map(|i| inputs[i].f_contiguous());
        let (f, x, before) = (f?, x?, before?);
        let (seq, batch, hidden) = f.size3()?;
        let sizes = Sizes::new(seq, batch, hidden)?;
        let out = f.f_empty_like()?;
        let kernel =
            Self::kernel(f.kind(), ["forget_mult_forward_f32", "forget_mult_forward_bf16"]);
        let [seq, batch, hidden] = sizes.arguments();
        let arguments = &mut [at(&f), at(&x), at(&before), at(&out), seq, batch, hidden];
        // SAFETY: the parameters of forget_mult_forward_* in order; all contiguous.
        unsafe { self.launcher.launch(kernel, sizes.geometry()?, arguments)? };
        let saved = vec![f, x, before, out.shallow_clone()];
        Ok(Forward { outputs: vec![out], saved })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [f, x, before, out] = call.saved else { unreachable!("four tensors were saved") };
        let Some(grad) = contiguous(call.grads[0].as_ref())? else {
            return Ok(vec![None, None, None]);
        };
        let (seq, batch, hidden) = f.size3()?;
        let sizes = Sizes::new(seq, batch, hidden)?;
        let (grad_f, grad_x) = (f.f_empty_like()?, x.f_empty_like()?);
        let grad_before = before.f_empty_like()?;
        let kernel =
            Self::kernel(f.kind(), ["forget_mult_backward_f32", "forget_mult_backward_bf16"]);
        let [seq, batch, hidden] = sizes.arguments();
        let (into_f, into_x, into_before) = (at(&grad_f), at(&grad_x), at(&grad_before));
        let arguments = &mut [
            at(f),
            at(x),
            at(before),
            at(out),
            at(&grad),
            into_f,
            into_x,
            into_before,
            seq,
            batch,
            hidden,
        ];
        // SAFETY: the parameters of forget_mult_backward_* in order; all contiguous.
        unsafe { self.launcher.launch(kernel, sizes.geometry()?, arguments)? };
        Ok(vec![Some(grad_f), Some(grad_x), Some(grad_before)])
    }
}

#[cfg(test)]
mod compiled;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod touched;
