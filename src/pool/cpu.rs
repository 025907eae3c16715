//! fo-pooling on the CPU.
//!
//! The state before every step is kept for the backward. To keep fewer and compute those in between
//! again, as `kernels/fo_pool.cu` does, moves fewer bytes and takes longer: time would have to be gone
//! through in both directions, in pieces.

use tch::Tensor;

use super::card::Settings;
use super::parts::{Direction, Part, Parts, Rows, Sizes};
use super::rows::{Backward, Factor, Forward, GateRows, PoolStored, Step};
use super::stored::Stored;
use super::stream::Sink;
use super::{Real, Zoneout};
use crate::Result;

/// The three gates' rows of a (seq, batch, 3 hidden) tensor.
fn gate_rows<S: Stored>(tensor: &Tensor, sizes: Sizes) -> [Rows<S>; 3] {
    let first = Rows::new(tensor, sizes.batch, 3 * sizes.hidden);
    [0, 1, 2].map(|k| first.beside(k, sizes.hidden))
}

/// What both directions read.
struct Inputs<S: Stored> {
    sizes: Sizes,
    gates: [Rows<S>; 3],
    mask: Option<Rows<S>>,
    keep: S::Real,
    dropout: Option<Rows<S>>,
    sink: Sink,
}

impl<S: Stored> Inputs<S> {
    fn new(gates: &Tensor, settings: &Settings) -> Result<Self> {
        let sizes = Sizes::of(gates, 3)?;
        let rows = |tensor| Rows::new(tensor, sizes.batch, sizes.hidden);
        let (mask, keep) = match &settings.zoneout {
            Zoneout::Off => (None, 1.0),
            Zoneout::Scaled(keep) => (None, *keep),
            Zoneout::Masked(mask) => (Some(rows(mask)), 1.0),
        };
        Ok(Self {
            sizes,
            gates: gate_rows(gates, sizes),
            mask,
            keep: S::Real::from_f64(keep),
            dropout: settings.dropout.as_ref().map(rows),
            sink: Sink::of(size_of::<S>() * gates.numel()),
        })
    }

    /// # Safety
    /// The step and part lie inside the tensors.
    unsafe fn gates<'a>(&self, t: usize, part: &Part) -> GateRows<'a, S> {
        // SAFETY: the gates are only read during a launch.
        let [z, f, o] = self.gates.map(|gate| unsafe { gate.read(t, part) });
        GateRows { z, f, o }
    }

    /// # Safety
    /// The step and part lie inside the tensors.
    unsafe fn step<'a>(&self, t: usize, part: &Part) -> Step<'a, S> {
        // SAFETY: gates and masks are only read during a launch.
        unsafe {
            let factor = |mask: Option<Rows<S>>, t, all| match mask {
                Some(mask) => Factor::Each(mask.read(t, part)),
                None => Factor::All(all),
            };
            Step {
                gates: self.gates(t, part),
                keep: factor(self.mask, t, self.keep),
                dropout: factor(self.dropout, 0, S::Real::ONE),
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
pub(super) fn forward<S: PoolStored>(
    gates: &Tensor,
    settings: &Settings,
    outputs: &Outputs<'_>,
) -> Result<()> {
    let inputs = Inputs::<S>::new(gates, settings)?;
    let Sizes { batch, hidden, .. } = inputs.sizes;
    let states = |tensor| Rows::<S::Real>::new(tensor, batch, hidden);
    let (before, state) = (states(outputs.before), states(outputs.last));
    let (kept, out) = (outputs.kept.map(states), Rows::<S>::new(outputs.out, batch, hidden));
    let sink = inputs.sink;
    // SAFETY: steps and parts lie inside by `walk`; each thread writes its own parts alone.
    Parts::of(inputs.sizes).walk(
        Direction::InTime,
        |part| unsafe { state.write(0, part).copy_from_slice(before.read(0, part)) },
        |t, part, (next_t, next)| unsafe {
            let row = Forward {
                state: state.write(0, part),
                kept: kept.map(|kept| sink.row(kept.write(t, part))),
                out: sink.row(out.write(t, part)),
                next: inputs.gates(next_t, next),
            };
            S::forward_row(inputs.step(t, part), row);
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
pub(super) fn backward<S: PoolStored>(
    gates: &Tensor,
    settings: &Settings,
    grads: &Gradients<'_>,
) -> Result<()> {
    let inputs = Inputs::<S>::new(gates, settings)?;
    let Sizes { batch, hidden, .. } = inputs.sizes;
    let states = |tensor| Rows::<S::Real>::new(tensor, batch, hidden);
    let (kept, last, carry) = (states(grads.kept), grads.last.map(states), states(grads.before));
    let out = Rows::<S>::new(grads.out, batch, hidden);
    let (written, sink) = (gate_rows(grads.gates, inputs.sizes), inputs.sink);
    // SAFETY: as in `forward`.
    Parts::of(inputs.sizes).walk(
        Direction::Back,
        |part| unsafe {
            match last {
                Some(last) => carry.write(0, part).copy_from_slice(last.read(0, part)),
                None => carry.write(0, part).fill(S::Real::default()),
            }
        },
        |t, part, (next_t, next)| unsafe {
            let row = Backward {
                before: kept.read(t, part),
                out: out.read(t, part),
                carry: carry.write(0, part),
                gates: written.map(|gate| sink.row(gate.write(t, part))),
                next: (inputs.gates(next_t, next), kept.read(next_t, next), out.read(next_t, next)),
            };
            S::backward_row(inputs.step(t, part), row);
        },
        || sink.finish(),
    )
}
