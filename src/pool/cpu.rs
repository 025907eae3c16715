//! fo-pooling on the CPU: threads share out (column, stretch of features) pairs, and each walks
//! its own through time with the state in the first-level cache.
//!
//! The states are kept before every STEPS-th step only, and the backward computes those in between
//! again, as `kernels/fo_pool.cu` does: a state for every step would cost a pass over memory in each
//! direction.

use std::ops::Range;

use tch::Tensor;

use super::card::{STEPS, Settings};
use super::rows::{Factors, GateRows, KeepRow, PoolStored, STRETCH};
use super::stored::Stored;
use super::stream::Sink;
use super::{Real, Zoneout};
use crate::Result;
use crate::libtorch::parallel_for;

/// Feature-steps worth a thread of their own.
const GRAIN: usize = 8192;

/// Sequence length, columns and features.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub seq: usize,
    pub batch: usize,
    pub hidden: usize,
}

impl Sizes {
    /// Runs `task(room, column, features)` for all of them, at most STRETCH features at a time, on all
    /// threads. `room` is made for many tasks that follow each other.
    pub fn for_each<M>(
        self,
        room: impl Fn() -> M + Sync,
        task: impl Fn(&mut M, usize, Range<usize>) + Sync,
    ) -> Result<()> {
        // As even as they can be, in whole cache lines of bf16.
        let stretches = self.hidden.div_ceil(STRETCH);
        let stretch = self.hidden.div_ceil(stretches).next_multiple_of(32);
        let stretches = self.hidden.div_ceil(stretch);
        let grain = GRAIN.div_ceil((self.seq * self.hidden.min(stretch)).max(1));
        parallel_for(self.batch * stretches, grain, |tasks| {
            let mut room = room();
            for i in tasks {
                let (column, first) = (i / stretches, i % stretches * stretch);
                task(&mut room, column, first..(first + stretch).min(self.hidden));
            }
        })
    }
}

/// Rows of a contiguous (seq, batch, width) or (batch, width) tensor, handed to many tasks at once.
#[derive(Clone, Copy)]
pub(super) struct Rows<S> {
    at: *mut S,
    batch: usize,
    width: usize,
}

// SAFETY: a pointer into a tensor that outlives the kernel; tasks touch disjoint features.
unsafe impl<S> Send for Rows<S> {}
// SAFETY: as above.
unsafe impl<S> Sync for Rows<S> {}

impl<S: Stored> Rows<S> {
    /// `tensor` is contiguous, on the CPU, of kind S, and its last dimension is the width.
    pub fn new(tensor: &Tensor, batch: usize, width: usize) -> Self {
        debug_assert!(tensor.is_contiguous() && tensor.kind() == S::KIND);
        Self { at: tensor.data_ptr().cast(), batch, width }
    }

    /// # Safety
    /// The place lies inside the tensor and nobody writes it meanwhile.
    pub unsafe fn read<'a>(self, t: usize, column: usize, features: Range<usize>) -> &'a [S] {
        let start = (t * self.batch + column) * self.width + features.start;
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts(self.at.add(start), features.len()) }
    }

    /// # Safety
    /// The place lies inside the tensor and nobody else reads or writes it meanwhile.
    pub unsafe fn write<'a>(self, t: usize, column: usize, features: Range<usize>) -> &'a mut [S] {
        let start = (t * self.batch + column) * self.width + features.start;
        // SAFETY: by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(start), features.len()) }
    }
}

/// A task's own row, at the start of a cache line.
#[repr(align(64))]
struct Row<R>([R; STRETCH]);

impl<R: Copy> Row<R> {
    fn of(number: R) -> Self {
        Self([number; STRETCH])
    }
}

/// What a task works with beside the tensors' rows.
struct Room<S: Stored> {
    dropout: Row<S::Real>,
    state: Row<S::Real>,
    carry: Row<S::Real>,
    staging: [Row<S>; 2],
}

impl<S: Stored> Room<S> {
    fn new() -> Self {
        let (one, zero) = (S::Real::ONE, S::Real::default());
        Self {
            dropout: Row::of(one),
            state: Row::of(zero),
            carry: Row::of(zero),
            staging: [Row::of(S::narrow(zero)), Row::of(S::narrow(zero))],
        }
    }
}

/// What both directions read.
struct Inputs<S: Stored> {
    sizes: Sizes,
    gates: Rows<S>,
    mask: Option<Rows<S>>,
    keep: S::Real,
    dropout: Option<Rows<S>>,
}

impl<S: Stored> Inputs<S> {
    fn new(gates: &Tensor, settings: &Settings) -> Result<Self> {
        let (seq, batch, width) = gates.size3()?;
        let sizes = Sizes { seq: seq as usize, batch: batch as usize, hidden: width as usize / 3 };
        let rows = |tensor| Rows::new(tensor, sizes.batch, sizes.hidden);
        let (mask, keep) = match &settings.zoneout {
            Zoneout::Off => (None, 1.0),
            Zoneout::Scaled(keep) => (None, *keep),
            Zoneout::Masked(mask) => (Some(rows(mask)), 1.0),
        };
        Ok(Self {
            sizes,
            gates: Rows::new(gates, sizes.batch, 3 * sizes.hidden),
            mask,
            keep: S::Real::from_f64(keep),
            dropout: settings.dropout.as_ref().map(rows),
        })
    }

    /// `None` past the last step.
    ///
    /// # Safety
    /// The column and features lie inside the tensors.
    unsafe fn gates<'a>(
        &self,
        t: usize,
        column: usize,
        features: &Range<usize>,
    ) -> Option<GateRows<'a, S>> {
        let hidden = self.sizes.hidden;
        let part = |k: usize| features.start + k * hidden..features.end + k * hidden;
        // SAFETY: the gates are only read during a launch.
        (t < self.sizes.seq).then(|| unsafe {
            GateRows {
                z: self.gates.read(t, column, part(0)),
                f: self.gates.read(t, column, part(1)),
                o: self.gates.read(t, column, part(2)),
            }
        })
    }

    /// # Safety
    /// The step, column and features lie inside the tensors.
    unsafe fn keep<'a>(&self, t: usize, column: usize, features: &Range<usize>) -> KeepRow<'a, S> {
        match self.mask {
            // SAFETY: the mask is only read during a launch.
            Some(mask) => KeepRow::Each(unsafe { mask.read(t, column, features.clone()) }),
            None => KeepRow::All(self.keep),
        }
    }

    /// Fills in the column's dropout mask; where there is none, the row's ones stay.
    ///
    /// # Safety
    /// The column and features lie inside the tensors.
    unsafe fn dropout(&self, column: usize, features: &Range<usize>, row: &mut Row<S::Real>) {
        let Some(mask) = self.dropout else { return };
        // SAFETY: the mask is only read during a launch.
        let mask = unsafe { mask.read(0, column, features.clone()) };
        for (out, mask) in row.0.iter_mut().zip(mask) {
            *out = mask.widen();
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
    /// (ceil(seq / STEPS), batch, hidden): what the backward starts from.
    pub kept: Option<&'a Tensor>,
}

/// Runs the forward on gates (seq, batch, 3 hidden), contiguous like the masks, all of kind S.
pub(super) fn forward<S: PoolStored>(
    gates: &Tensor,
    settings: &Settings,
    outputs: &Outputs<'_>,
) -> Result<()> {
    let inputs = Inputs::<S>::new(gates, settings)?;
    let Sizes { seq, batch, hidden } = inputs.sizes;
    let states = |tensor| Rows::<S::Real>::new(tensor, batch, hidden);
    let (before, last, kept) =
        (states(outputs.before), states(outputs.last), outputs.kept.map(states));
    let out = Rows::<S>::new(outputs.out, batch, hidden);
    let sink = Sink::of(size_of::<S>() * seq * batch * hidden);
    inputs.sizes.for_each(Room::<S>::new, |room, column, features| {
        let Room { dropout, state, staging: [staging, _], .. } = room;
        let c = &mut state.0[..features.len()];
        // SAFETY: t < seq, column < batch and features ⊂ 0..hidden by `for_each`; each task writes
        // its own column and features alone.
        unsafe {
            inputs.dropout(column, &features, dropout);
            c.copy_from_slice(before.read(0, column, features.clone()));
            let mut next = inputs.gates(0, column, &features);
            for t in 0..seq {
                if let Some(kept) = kept.filter(|_| t.is_multiple_of(STEPS as usize)) {
                    kept.write(t / STEPS as usize, column, features.clone()).copy_from_slice(c);
                }
                let Some(gates) = next else { break };
                next = inputs.gates(t + 1, column, &features);
                let keep = inputs.keep(t, column, &features);
                sink.row(
                    &mut staging.0[..c.len()],
                    out.write(t, column, features.clone()),
                    |out| {
                        S::forward_row(gates, keep, &dropout.0, c, out, next);
                    },
                );
            }
            sink.finish();
            last.write(0, column, features.clone()).copy_from_slice(c);
        }
    })
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
    const CHUNK: usize = STEPS as usize;
    let inputs = Inputs::<S>::new(gates, settings)?;
    let Sizes { seq, batch, hidden } = inputs.sizes;
    let states = |tensor| Rows::<S::Real>::new(tensor, batch, hidden);
    let (kept, grad_last) = (states(grads.kept), grads.last.map(states));
    let grad_before = states(grads.before);
    let grad_out = Rows::<S>::new(grads.out, batch, hidden);
    let grad_gates = Rows::<S>::new(grads.gates, batch, 3 * hidden);
    let sink = Sink::of(size_of::<S>() * 3 * seq * batch * hidden);
    let room = || (Room::<S>::new(), vec![Factors::<S::Real>::default(); CHUNK]);
    inputs.sizes.for_each(room, |(room, factors), column, features| {
        let Room { dropout, state, carry, staging } = room;
        let (c, carry) = (&mut state.0[..features.len()], &mut carry.0[..features.len()]);
        let part = |k: usize| features.start + k * hidden..features.end + k * hidden;
        // SAFETY: as in `forward`; the gradients of a task's own column and features are its alone.
        unsafe {
            inputs.dropout(column, &features, dropout);
            match grad_last {
                Some(last) => carry.copy_from_slice(last.read(0, column, features.clone())),
                None => carry.fill(S::Real::default()),
            }
            for chunk in (0..seq.div_ceil(CHUNK)).rev() {
                let steps = chunk * CHUNK..((chunk + 1) * CHUNK).min(seq);
                c.copy_from_slice(kept.read(chunk, column, features.clone()));
                for (t, factors) in steps.clone().zip(&mut *factors) {
                    // The step that is reduced next: after a chunk's last, the chunk before's first.
                    let next = match t + 1 < steps.end {
                        true => Some(t + 1),
                        false => (chunk > 0).then(|| (chunk - 1) * CHUNK),
                    };
                    let next = next.and_then(|t| {
                        let grad = grad_out.read(t, column, features.clone());
                        Some((inputs.gates(t, column, &features)?, grad))
                    });
                    let Some(gates) = inputs.gates(t, column, &features) else { continue };
                    let keep = inputs.keep(t, column, &features);
                    let grad = grad_out.read(t, column, features.clone());
                    let grad_o = grad_gates.write(t, column, part(2));
                    sink.row(&mut staging[0].0[..c.len()], grad_o, |grad_o| {
                        S::reduce_row(gates, keep, &dropout.0, grad, c, grad_o, factors, next);
                    });
                }
                for (t, factors) in steps.zip(&*factors).rev() {
                    let (grad_z, grad_f) = (
                        grad_gates.write(t, column, part(0)),
                        grad_gates.write(t, column, part(1)),
                    );
                    let [for_z, for_f] = &mut *staging;
                    let (for_z, for_f) = (&mut for_z.0[..c.len()], &mut for_f.0[..c.len()]);
                    sink.row(for_z, grad_z, |grad_z| {
                        sink.row(for_f, grad_f, |grad_f| {
                            S::carry_row(factors, carry, grad_z, grad_f);
                        });
                    });
                }
            }
            sink.finish();
            grad_before.write(0, column, features.clone()).copy_from_slice(carry);
        }
    })
}
