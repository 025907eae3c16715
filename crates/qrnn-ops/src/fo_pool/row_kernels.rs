//! fo-pooling of one row of features at one time step, compiled for AVX-512, AVX2 and the baseline
//! instruction set, dispatched at run time.
//!
//! A row is computed in groups of [`LANES`]. Each group prefetches the same group of the next row and
//! stores its results, so that memory transfers overlap with arithmetic.

use multiversion::multiversion;

use crate::simd::{Accum, Bf16, Element, Output};

/// Elements of a group: in f32, a cache line and an AVX-512 register.
const LANES: usize = 16;

/// The linear map's output at one time step: the gates before their activation.
#[derive(Debug, Clone, Copy)]
pub struct GateRows<'a, S> {
    /// Candidate, before tanh.
    pub z: &'a [S],
    /// Forget gate, before the sigmoid.
    pub f: &'a [S],
    /// Output gate, before the sigmoid.
    pub o: &'a [S],
}

/// A factor of a row.
#[derive(Debug, Clone, Copy)]
pub enum Scale<'a, S: Element> {
    /// One factor for all features.
    All(S::Accum),
    /// One factor per feature: a mask.
    Each(&'a [S]),
}

/// Inputs of a time step, for forward and backward.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a, S: Element> {
    /// The gates before activation.
    pub gates: GateRows<'a, S>,
    /// Factor of the forget gate.
    pub zoneout: Scale<'a, S>,
    /// Factor of the output: locked dropout.
    pub dropout: Scale<'a, S>,
}

/// State and outputs of the forward of a time step.
#[derive(Debug)]
pub struct Forward<'a, S: Element> {
    /// The state before the step; overwritten by the state after it.
    pub state: &'a mut [S::Accum],
    /// Written, if a backward may follow: the state before the step.
    pub saved_state: Option<Output<'a, S::Accum>>,
    /// Written: h.
    pub out: Output<'a, S>,
    /// Prefetched: the gates of the next row.
    pub next: GateRows<'a, S>,
}

/// State and gradients of the backward of a time step.
#[derive(Debug)]
pub struct Backward<'a, S: Element> {
    /// The state before the step.
    pub previous_state: &'a [S::Accum],
    /// Gradient of h.
    pub grad_out: &'a [S],
    /// Gradient of the state after the step; overwritten by that of the state before it.
    pub grad_state: &'a mut [S::Accum],
    /// Written: gradients of z, f and o before activation.
    pub grad_gates: [Output<'a, S>; 3],
    /// Prefetched: gates, state and output gradient of the next row.
    pub next: (GateRows<'a, S>, &'a [S::Accum], &'a [S]),
}

// The functions below are `inline(always)` and loop with `for`: only code that is inlined into a
// multiversioned function is compiled for its instruction set, and a closure may not be inlined.

/// The first n groups of a row.
#[inline(always)]
fn groups<S>(row: &[S], n: usize) -> &[[S; LANES]] {
    &row.as_chunks().0[..n]
}

/// Prefetches the cache line of element `at`.
#[inline(always)]
fn prefetch<S>(row: &[S], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint, valid for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(at).cast()) };
    }
}

impl<S: Element> GateRows<'_, S> {
    #[inline(always)]
    fn prefetch(&self, at: usize) {
        prefetch(self.z, at);
        prefetch(self.f, at);
        prefetch(self.o, at);
    }
}

impl<S: Element> Scale<'_, S> {
    /// The g-th group.
    #[inline(always)]
    fn group(&self, g: usize) -> [S::Accum; LANES] {
        let row = match self {
            Self::All(factor) => return [*factor; LANES],
            Self::Each(row) => &row.as_chunks::<LANES>().0[g],
        };
        let mut group = [S::Accum::ONE; LANES];
        for i in 0..LANES {
            group[i] = row[i].widen();
        }
        group
    }

    #[inline(always)]
    fn at(&self, i: usize) -> S::Accum {
        match self {
            Self::All(factor) => *factor,
            Self::Each(row) => row[i].widen(),
        }
    }
}

/// The new state and the output of one feature.
#[inline(always)]
fn forward_one<S: Element>(
    (z, f, o): (S, S, S),
    (zoneout, dropout): (S::Accum, S::Accum),
    previous: S::Accum,
) -> (S::Accum, S) {
    let (z, f, o) = Accum::gates(z.widen(), f.widen(), o.widen());
    let c = (f * zoneout).mul_add(z - previous, previous);
    (c, S::narrow(o * c * dropout))
}

#[inline(always)]
fn forward<S: Element>(step: Step<'_, S>, row: Forward<'_, S>) {
    let Step { gates: GateRows { z, f, o }, zoneout, dropout } = step;
    let Forward { state, mut saved_state, mut out, next } = row;
    let whole = state.len() / LANES;
    let [z_groups, f_groups, o_groups] = [z, f, o].map(|row| groups(row, whole));
    let (states, rest) = state.as_chunks_mut::<LANES>();
    for g in 0..whole {
        next.prefetch(g * LANES);
        let (z, f, o) = (&z_groups[g], &f_groups[g], &o_groups[g]);
        let (zoneout, dropout) = (zoneout.group(g), dropout.group(g));
        // Local copies show the compiler that inputs and outputs do not alias.
        let (previous, mut new, mut h) = (states[g], [S::Accum::ONE; LANES], [S::default(); LANES]);
        for i in 0..LANES {
            (new[i], h[i]) = forward_one((z[i], f[i], o[i]), (zoneout[i], dropout[i]), previous[i]);
        }
        states[g] = new;
        if let Some(saved_state) = &mut saved_state {
            saved_state.put(g, &previous);
        }
        out.put(g, &h);
    }
    for (c, i) in rest.iter_mut().zip(whole * LANES..) {
        if let Some(saved_state) = &mut saved_state {
            saved_state.row[i] = *c;
        }
        (*c, out.row[i]) = forward_one((z[i], f[i], o[i]), (zoneout.at(i), dropout.at(i)), *c);
    }
}

/// The gradients of one feature: of the previous state, and of z, f and o before activation.
#[inline(always)]
fn backward_one<S: Element>(
    (z, f, o): (S, S, S),
    (zoneout, dropout): (S::Accum, S::Accum),
    previous: S::Accum,
    grad_out: S,
    grad_state: S::Accum,
) -> (S::Accum, S, S, S) {
    let one = S::Accum::ONE;
    let (z, f, o) = Accum::gates(z.widen(), f.widen(), o.widen());
    let (gate, step) = (f * zoneout, z - previous);
    let c = gate.mul_add(step, previous);
    let grad_by_output = grad_out.widen() * dropout * o;
    let grad = grad_by_output + grad_state;
    let gated_grad = grad * gate;
    (
        grad - gated_grad,
        S::narrow(gated_grad * (one - z * z)),
        S::narrow(gated_grad * step * (one - f)),
        S::narrow(grad_by_output * c * (one - o)),
    )
}

#[inline(always)]
fn backward<S: Element>(step: Step<'_, S>, row: Backward<'_, S>) {
    let Step { gates: GateRows { z, f, o }, zoneout, dropout } = step;
    let Backward { previous_state, grad_out, grad_state, grad_gates, next } = row;
    let [mut grad_z, mut grad_f, mut grad_o] = grad_gates;
    let whole = grad_state.len() / LANES;
    let [z_groups, f_groups, o_groups, out_groups] =
        [z, f, o, grad_out].map(|row| groups(row, whole));
    let previous_groups = groups(previous_state, whole);
    let (state_groups, rest) = grad_state.as_chunks_mut::<LANES>();
    for g in 0..whole {
        let (next_gates, next_state, next_out) = next;
        next_gates.prefetch(g * LANES);
        prefetch(next_state, g * LANES);
        prefetch(next_out, g * LANES);
        let (z, f, o) = (&z_groups[g], &f_groups[g], &o_groups[g]);
        let (zoneout, dropout) = (zoneout.group(g), dropout.group(g));
        let (previous, out, state) = (&previous_groups[g], &out_groups[g], state_groups[g]);
        let mut new_state = [S::Accum::ONE; LANES];
        let [mut new_z, mut new_f, mut new_o] = [[S::default(); LANES]; 3];
        for i in 0..LANES {
            let factors = (zoneout[i], dropout[i]);
            (new_state[i], new_z[i], new_f[i], new_o[i]) =
                backward_one((z[i], f[i], o[i]), factors, previous[i], out[i], state[i]);
        }
        state_groups[g] = new_state;
        grad_z.put(g, &new_z);
        grad_f.put(g, &new_f);
        grad_o.put(g, &new_o);
    }
    for (state, i) in rest.iter_mut().zip(whole * LANES..) {
        let factors = (zoneout.at(i), dropout.at(i));
        (*state, grad_z.row[i], grad_f.row[i], grad_o.row[i]) =
            backward_one((z[i], f[i], o[i]), factors, previous_state[i], grad_out[i], *state);
    }
}

/// An [`Element`] whose row kernels are compiled for each instruction set. All rows of a call have one
/// length.
pub trait PoolElement: Element {
    /// c ← f·zoneout·z + (1 - f·zoneout)·c and h = o·c·dropout.
    fn forward_row(step: Step<'_, Self>, row: Forward<'_, Self>);

    /// The gradients of z, f, o and the previous state.
    fn backward_row(step: Step<'_, Self>, row: Backward<'_, Self>);
}

macro_rules! pool_element {
    ($element:ty, $forward:ident, $backward:ident) => {
        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $forward(step: Step<'_, $element>, row: Forward<'_, $element>) {
            forward(step, row);
        }

        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $backward(step: Step<'_, $element>, row: Backward<'_, $element>) {
            backward(step, row);
        }

        impl PoolElement for $element {
            fn forward_row(step: Step<'_, Self>, row: Forward<'_, Self>) {
                $forward(step, row);
            }

            fn backward_row(step: Step<'_, Self>, row: Backward<'_, Self>) {
                $backward(step, row);
            }
        }
    };
}

pool_element!(f32, forward_f32, backward_f32);
pool_element!(f64, forward_f64, backward_f64);
pool_element!(Bf16, forward_bf16, backward_bf16);
