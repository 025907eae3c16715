//! fo-pooling on the CPU.
//!
//! The state before every step is kept for the backward. To keep fewer and compute those in between
//! again, as `kernels/fo_pool.cu` does, moves fewer bytes and takes longer: time would have to be gone
//! through in both directions, in pieces.

use tch::{Kind, Tensor};

use super::options::{FoPoolOptions, Pooled, Zoneout, pooled};
use super::row_kernels::{self, GateRows, PoolElement, Scale, Step};
use super::tiles::{Direction, Rows, Shape, Tile, Tiles};
use crate::autograd::{self, Backward, Forward, Function};
use crate::simd::{Accum, Bf16, Element, StorePolicy};
use crate::{Result, profile};

/// The three gates' rows of a (seq, batch, 3 hidden) tensor.
fn gate_rows<S: Element>(tensor: &Tensor, shape: Shape) -> [Rows<S>; 3] {
    let first = Rows::new(tensor, shape.batch, 3 * shape.hidden);
    [0, 1, 2].map(|k| first.offset_by(k, shape.hidden))
}

/// What both directions read.
struct Inputs<S: Element> {
    shape: Shape,
    gates: [Rows<S>; 3],
    mask: Option<Rows<S>>,
    keep: S::Accum,
    dropout: Option<Rows<S>>,
    sink: StorePolicy,
}

impl<S: Element> Inputs<S> {
    fn new(gates: &Tensor, options: &FoPoolOptions) -> Result<Self> {
        let shape = Shape::of(gates, 3)?;
        let rows = |tensor| Rows::new(tensor, shape.batch, shape.hidden);
        let (mask, keep) = match &options.zoneout {
            Zoneout::Off => (None, 1.0),
            Zoneout::Scaled(keep) => (None, *keep),
            Zoneout::Masked(mask) => (Some(rows(mask)), 1.0),
        };
        Ok(Self {
            shape,
            gates: gate_rows(gates, shape),
            mask,
            keep: S::Accum::from_f64(keep),
            dropout: options.dropout.as_ref().map(rows),
            sink: StorePolicy::of(size_of::<S>() * gates.numel()),
        })
    }

    /// # Safety
    /// The step and part lie inside the tensors.
    unsafe fn gates<'a>(&self, t: usize, tile: &Tile) -> GateRows<'a, S> {
        // SAFETY: the gates are only read during a launch.
        let [z, f, o] = self.gates.map(|gate| unsafe { gate.read(t, tile) });
        GateRows { z, f, o }
    }

    /// # Safety
    /// The step and part lie inside the tensors.
    unsafe fn step<'a>(&self, t: usize, tile: &Tile) -> Step<'a, S> {
        // SAFETY: gates and masks are only read during a launch.
        unsafe {
            let factor = |mask: Option<Rows<S>>, t, all| match mask {
                Some(mask) => Scale::Each(mask.read(t, tile)),
                None => Scale::All(all),
            };
            Step {
                gates: self.gates(t, tile),
                keep: factor(self.mask, t, self.keep),
                dropout: factor(self.dropout, 0, S::Accum::ONE),
            }
        }
    }
}

/// Tensors of a forward; contiguous, the states of the kind that is computed with.
pub(super) struct Outputs<'a> {
    /// (batch, hidden), read: the state before the first step.
    pub before: &'a Tensor,
    /// (seq, batch, hidden), of the gates' kind.
    pub out: &'a Tensor,
    /// (batch, hidden).
    pub last: &'a Tensor,
    /// (seq, batch, hidden): the state before each step, for the backward.
    pub kept: Option<&'a Tensor>,
}

/// Runs the forward on gates (seq, batch, 3 hidden), contiguous like the masks, all of kind S.
pub(super) fn forward<S: PoolElement>(
    gates: &Tensor,
    options: &FoPoolOptions,
    outputs: &Outputs<'_>,
) -> Result<()> {
    let inputs = Inputs::<S>::new(gates, options)?;
    let Shape { batch, hidden, .. } = inputs.shape;
    let states = |tensor| Rows::<S::Accum>::new(tensor, batch, hidden);
    let (before, state) = (states(outputs.before), states(outputs.last));
    let (kept, out) = (outputs.kept.map(states), Rows::<S>::new(outputs.out, batch, hidden));
    let sink = inputs.sink;
    // SAFETY: steps and parts lie inside by `walk`; each thread writes its own parts alone.
    Tiles::of(inputs.shape).walk(
        Direction::InTime,
        |tile| unsafe { state.write(0, tile).copy_from_slice(before.read(0, tile)) },
        |t, tile, (next_t, next)| unsafe {
            let row = row_kernels::Forward {
                state: state.write(0, tile),
                kept: kept.map(|kept| sink.row(kept.write(t, tile))),
                out: sink.row(out.write(t, tile)),
                next: inputs.gates(next_t, next),
            };
            S::forward_row(inputs.step(t, tile), row);
        },
        || sink.finish(),
    )
}

/// Tensors of a backward; contiguous, the states' of the kind that is computed with.
pub(super) struct Gradients<'a> {
    /// As the forward wrote it.
    pub kept: &'a Tensor,
    /// (seq, batch, hidden), of the gates' kind.
    pub out: &'a Tensor,
    /// (batch, hidden).
    pub last: Option<&'a Tensor>,
    /// Written: (seq, batch, 3 hidden), of the gates' kind.
    pub gates: &'a Tensor,
    /// Written: (batch, hidden).
    pub before: &'a Tensor,
}

/// Runs the backward; arguments as for [`forward`].
pub(super) fn backward<S: PoolElement>(
    gates: &Tensor,
    options: &FoPoolOptions,
    grads: &Gradients<'_>,
) -> Result<()> {
    let inputs = Inputs::<S>::new(gates, options)?;
    let Shape { batch, hidden, .. } = inputs.shape;
    let states = |tensor| Rows::<S::Accum>::new(tensor, batch, hidden);
    let (kept, last, carry) = (states(grads.kept), grads.last.map(states), states(grads.before));
    let out = Rows::<S>::new(grads.out, batch, hidden);
    let (written, sink) = (gate_rows(grads.gates, inputs.shape), inputs.sink);
    // SAFETY: as in `forward`.
    Tiles::of(inputs.shape).walk(
        Direction::Back,
        |tile| unsafe {
            match last {
                Some(last) => carry.write(0, tile).copy_from_slice(last.read(0, tile)),
                None => carry.write(0, tile).fill(S::Accum::default()),
            }
        },
        |t, tile, (next_t, next)| unsafe {
            let row = row_kernels::Backward {
                before: kept.read(t, tile),
                out: out.read(t, tile),
                carry: carry.write(0, tile),
                gates: written.map(|gate| sink.row(gate.write(t, tile))),
                next: (inputs.gates(next_t, next), kept.read(next_t, next), out.read(next_t, next)),
            };
            S::backward_row(inputs.step(t, tile), row);
        },
        || sink.finish(),
    )
}

/// [`super::fo_pool`] on the CPU: arguments checked, `initial_state` of the kind that is computed with.
pub(super) fn fo_pool(
    gates: &Tensor,
    initial_state: &Tensor,
    options: &FoPoolOptions,
) -> Result<Pooled> {
    // States are saved only where a backward may come.
    let keep = gates.requires_grad() || initial_state.requires_grad();
    let operation = FoPool { options: options.contiguous()?, keep };
    pooled(autograd::apply(operation, &[gates, initial_state])?)
}

/// The operation on the CPU as autograd sees it.
struct FoPool {
    options: FoPoolOptions,
    /// Whether a backward may come.
    keep: bool,
}

impl FoPool {
    fn forward_of<S: PoolElement>(&self, gates: Tensor, before: &Tensor) -> Result<Forward> {
        let (seq, batch, width) = gates.size3()?;
        let state = (S::Accum::KIND, gates.device());
        let out = Tensor::f_empty([seq, batch, width / 3], (S::KIND, gates.device()))?;
        let last = Tensor::f_empty([batch, width / 3], state)?;
        let kept = self.keep.then(|| Tensor::f_empty([seq, batch, width / 3], state));
        let kept = kept.transpose()?;
        let outputs = Outputs { before, out: &out, last: &last, kept: kept.as_ref() };
        forward::<S>(&gates, &self.options, &outputs)?;
        let saved = kept.map_or(vec![], |kept| vec![gates, kept]);
        Ok(Forward { outputs: vec![out, last], saved })
    }

    fn backward_of<S: PoolElement>(&self, call: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [gates, kept] = call.saved else { unreachable!("two tensors were saved") };
        let (seq, batch, width) = gates.size3()?;
        let contiguous =
            |grad: &Option<Tensor>| grad.as_ref().map(Tensor::f_contiguous).transpose();
        let out = match contiguous(&call.grads[0])? {
            Some(grad) => grad,
            None => Tensor::f_zeros([seq, batch, width / 3], (S::KIND, gates.device()))?,
        };
        let last = contiguous(&call.grads[1])?;
        let of_gates = gates.f_empty_like()?;
        let of_before = Tensor::f_empty([batch, width / 3], (S::Accum::KIND, gates.device()))?;
        let grads = Gradients {
            kept,
            out: &out,
            last: last.as_ref(),
            gates: &of_gates,
            before: &of_before,
        };
        backward::<S>(gates, &self.options, &grads)?;
        Ok(vec![Some(of_gates), Some(of_before)])
    }
}

impl Function for FoPool {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let (gates, before) = (inputs[0].f_contiguous()?, inputs[1].f_contiguous()?);
        let _stage = profile::stage("pooling forward");
        match gates.kind() {
            Kind::Double => self.forward_of::<f64>(gates, &before),
            Kind::BFloat16 => self.forward_of::<Bf16>(gates, &before),
            _ => self.forward_of::<f32>(gates, &before),
        }
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let _stage = profile::stage("pooling backward");
        match call.saved.first().map(Tensor::kind) {
            Some(Kind::Double) => self.backward_of::<f64>(&call),
            Some(Kind::BFloat16) => self.backward_of::<Bf16>(&call),
            _ => self.backward_of::<f32>(&call),
        }
    }
}
