//! fo-pooling on the CPU.
//!
//! The forward saves the state before every time step. Recomputing states in the backward, as
//! `kernels/fo_pool.cu` does, moves fewer bytes but is slower here.

use tch::{Kind, Tensor};

use super::options::{FoPoolOptions, Pooled, Zoneout, pooled};
use super::row_kernels::{self, GateRows, PoolElement, Scale, Step};
use super::tiles::{Direction, Rows, Shape, Tile, Tiles};
use crate::Result;
use crate::autograd::{self, Backward, Forward, Function};
use crate::profile::{self, Stage};
use crate::simd::{Accum, Bf16, Element, StorePolicy};

/// The rows of z, f and o in a (seq, batch, 3 hidden) tensor.
fn gate_rows<S: Element>(tensor: &Tensor, shape: Shape) -> [Rows<S>; 3] {
    let first = Rows::new(tensor, shape.batch, 3 * shape.hidden);
    [0, 1, 2].map(|k| first.offset_by(k, shape.hidden))
}

/// Inputs of the forward and the backward.
struct Inputs<S: Element> {
    shape: Shape,
    gates: [Rows<S>; 3],
    zoneout_mask: Option<Rows<S>>,
    zoneout_scale: S::Accum,
    dropout: Option<Rows<S>>,
    store_policy: StorePolicy,
}

impl<S: Element> Inputs<S> {
    fn new(gates: &Tensor, options: &FoPoolOptions) -> Result<Self> {
        let shape = Shape::of(gates, 3)?;
        let rows = |tensor| Rows::new(tensor, shape.batch, shape.hidden);
        let (zoneout_mask, zoneout_scale) = match &options.zoneout {
            Zoneout::Off => (None, 1.0),
            Zoneout::Scaled(scale) => (None, *scale),
            Zoneout::Masked(mask) => (Some(rows(mask)), 1.0),
        };
        Ok(Self {
            shape,
            gates: gate_rows(gates, shape),
            zoneout_mask,
            zoneout_scale: S::Accum::from_f64(zoneout_scale),
            dropout: options.dropout.as_ref().map(rows),
            store_policy: StorePolicy::of(size_of::<S>() * gates.numel()),
        })
    }

    /// # Safety
    /// t and tile lie inside the tensors.
    unsafe fn gates<'a>(&self, t: usize, tile: &Tile) -> GateRows<'a, S> {
        // SAFETY: nothing writes the gates while the kernel runs.
        let [z, f, o] = self.gates.map(|gate| unsafe { gate.read(t, tile) });
        GateRows { z, f, o }
    }

    /// # Safety
    /// t and tile lie inside the tensors.
    unsafe fn step<'a>(&self, t: usize, tile: &Tile) -> Step<'a, S> {
        // SAFETY: nothing writes gates and masks while the kernel runs.
        unsafe {
            let factor = |mask: Option<Rows<S>>, t, all| match mask {
                Some(mask) => Scale::Each(mask.read(t, tile)),
                None => Scale::All(all),
            };
            Step {
                gates: self.gates(t, tile),
                zoneout: factor(self.zoneout_mask, t, self.zoneout_scale),
                dropout: factor(self.dropout, 0, S::Accum::ONE),
            }
        }
    }
}

/// Tensors of a forward, contiguous; the states have kind `S::Accum`.
pub(super) struct Outputs<'a> {
    /// (batch, hidden), read.
    pub initial_state: &'a Tensor,
    /// (seq, batch, hidden), of the gates' kind.
    pub out: &'a Tensor,
    /// (batch, hidden).
    pub final_state: &'a Tensor,
    /// (seq, batch, hidden): the state before each time step, for the backward.
    pub saved_states: Option<&'a Tensor>,
}

/// Runs the forward. Gates (seq, batch, 3 hidden) and masks are contiguous, of kind S.
pub(super) fn forward<S: PoolElement>(
    gates: &Tensor,
    options: &FoPoolOptions,
    outputs: &Outputs<'_>,
) -> Result<()> {
    let inputs = Inputs::<S>::new(gates, options)?;
    let Shape { batch, hidden, .. } = inputs.shape;
    let states = |tensor| Rows::<S::Accum>::new(tensor, batch, hidden);
    let (initial, state) = (states(outputs.initial_state), states(outputs.final_state));
    let (saved, out) =
        (outputs.saved_states.map(states), Rows::<S>::new(outputs.out, batch, hidden));
    let store_policy = inputs.store_policy;
    // SAFETY: `for_each_step` passes steps and tiles inside the tensors; a tile belongs to one thread.
    Tiles::of(inputs.shape).for_each_step(
        Direction::Forward,
        |tile| unsafe { state.write(0, tile).copy_from_slice(initial.read(0, tile)) },
        |t, tile, (next_t, next)| unsafe {
            let row = row_kernels::Forward {
                state: state.write(0, tile),
                saved_state: saved.map(|saved| store_policy.row(saved.write(t, tile))),
                out: store_policy.row(out.write(t, tile)),
                next: inputs.gates(next_t, next),
            };
            S::forward_row(inputs.step(t, tile), row);
        },
        || store_policy.finish(),
    )
}

/// Tensors of a backward, contiguous; states and their gradients have kind `S::Accum`.
pub(super) struct Gradients<'a> {
    /// As [`forward`] wrote them.
    pub saved_states: &'a Tensor,
    /// Read: (seq, batch, hidden), of the gates' kind.
    pub out: &'a Tensor,
    /// Read: (batch, hidden).
    pub final_state: Option<&'a Tensor>,
    /// Written: (seq, batch, 3 hidden), of the gates' kind.
    pub gates: &'a Tensor,
    /// Written: (batch, hidden).
    pub initial_state: &'a Tensor,
}

/// Runs the backward; gates and masks as for [`forward`].
pub(super) fn backward<S: PoolElement>(
    gates: &Tensor,
    options: &FoPoolOptions,
    grads: &Gradients<'_>,
) -> Result<()> {
    let inputs = Inputs::<S>::new(gates, options)?;
    let Shape { batch, hidden, .. } = inputs.shape;
    let states = |tensor| Rows::<S::Accum>::new(tensor, batch, hidden);
    let (saved, grad_state) = (states(grads.saved_states), states(grads.initial_state));
    let final_state = grads.final_state.map(states);
    let out = Rows::<S>::new(grads.out, batch, hidden);
    let (grad_gates, store_policy) = (gate_rows(grads.gates, inputs.shape), inputs.store_policy);
    // SAFETY: as in `forward`.
    Tiles::of(inputs.shape).for_each_step(
        Direction::Backward,
        |tile| unsafe {
            match final_state {
                Some(grad) => grad_state.write(0, tile).copy_from_slice(grad.read(0, tile)),
                None => grad_state.write(0, tile).fill(S::Accum::default()),
            }
        },
        |t, tile, (next_t, next)| unsafe {
            let row = row_kernels::Backward {
                previous_state: saved.read(t, tile),
                grad_out: out.read(t, tile),
                grad_state: grad_state.write(0, tile),
                grad_gates: grad_gates.map(|gate| store_policy.row(gate.write(t, tile))),
                next: (
                    inputs.gates(next_t, next),
                    saved.read(next_t, next),
                    out.read(next_t, next),
                ),
            };
            S::backward_row(inputs.step(t, tile), row);
        },
        || store_policy.finish(),
    )
}

/// [`super::fo_pool`] on the CPU, with checked arguments; `initial_state` has kind Double for Double gates,
/// otherwise Float.
pub(super) fn fo_pool(
    gates: &Tensor,
    initial_state: &Tensor,
    options: &FoPoolOptions,
) -> Result<Pooled> {
    let saves_states = gates.requires_grad() || initial_state.requires_grad();
    let operation = FoPool { options: options.contiguous()?, saves_states };
    pooled(autograd::apply(operation, &[gates, initial_state])?)
}

struct FoPool {
    options: FoPoolOptions,
    /// Whether a backward may follow.
    saves_states: bool,
}

impl FoPool {
    fn forward_of<S: PoolElement>(&self, gates: Tensor, initial_state: &Tensor) -> Result<Forward> {
        let (seq, batch, width) = gates.size3()?;
        let state_options = (S::Accum::KIND, gates.device());
        let out = Tensor::f_empty([seq, batch, width / 3], (S::KIND, gates.device()))?;
        let final_state = Tensor::f_empty([batch, width / 3], state_options)?;
        let saved_states =
            self.saves_states.then(|| Tensor::f_empty([seq, batch, width / 3], state_options));
        let saved_states = saved_states.transpose()?;
        let outputs = Outputs {
            initial_state,
            out: &out,
            final_state: &final_state,
            saved_states: saved_states.as_ref(),
        };
        forward::<S>(&gates, &self.options, &outputs)?;
        let saved = saved_states.map_or(vec![], |states| vec![gates, states]);
        Ok(Forward { outputs: vec![out, final_state], saved })
    }

    fn backward_of<S: PoolElement>(&self, call: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let [gates, saved_states] = call.saved else { unreachable!("two tensors were saved") };
        let (seq, batch, width) = gates.size3()?;
        let contiguous =
            |grad: &Option<Tensor>| grad.as_ref().map(Tensor::f_contiguous).transpose();
        let out = match contiguous(&call.grads[0])? {
            Some(grad) => grad,
            None => Tensor::f_zeros([seq, batch, width / 3], (S::KIND, gates.device()))?,
        };
        let final_state = contiguous(&call.grads[1])?;
        let grad_gates = gates.f_empty_like()?;
        let grad_state = Tensor::f_empty([batch, width / 3], (S::Accum::KIND, gates.device()))?;
        let grads = Gradients {
            saved_states,
            out: &out,
            final_state: final_state.as_ref(),
            gates: &grad_gates,
            initial_state: &grad_state,
        };
        backward::<S>(gates, &self.options, &grads)?;
        Ok(vec![Some(grad_gates), Some(grad_state)])
    }
}

impl Function for FoPool {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let (gates, initial_state) = (inputs[0].f_contiguous()?, inputs[1].f_contiguous()?);
        let _span = profile::span(Stage::PoolingForward);
        match gates.kind() {
            Kind::Double => self.forward_of::<f64>(gates, &initial_state),
            Kind::BFloat16 => self.forward_of::<Bf16>(gates, &initial_state),
            _ => self.forward_of::<f32>(gates, &initial_state),
        }
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let _span = profile::span(Stage::PoolingBackward);
        match call.saved.first().map(Tensor::kind) {
            Some(Kind::Double) => self.backward_of::<f64>(&call),
            Some(Kind::BFloat16) => self.backward_of::<Bf16>(&call),
            _ => self.backward_of::<f32>(&call),
        }
    }
}
