//! fo-pooling of one row of features at one time step, compiled for AVX-512, AVX2 and the plain
//! instruction set, and picked at run time.
//!
//! A row is computed group by group. With each group the same group of the row that comes next is
//! asked for, and the results are sent off, so that memory is at work all the while; with larger
//! pieces, arithmetic and memory would take turns.

use multiversion::multiversion;

use crate::simd::{Accum, Bf16, Element, Output};

/// Numbers of a group: in f32, a cache line and an AVX-512 register.
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

/// What multiplies a row.
#[derive(Debug, Clone, Copy)]
pub enum Scale<'a, S: Element> {
    /// All features with the same number.
    All(S::Accum),
    /// Each with its own: a mask.
    Each(&'a [S]),
}

/// What both directions read of a step.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a, S: Element> {
    /// The gates.
    pub gates: GateRows<'a, S>,
    /// Zoneout's factor of the forget gate.
    pub keep: Scale<'a, S>,
    /// Locked dropout's factor of the output.
    pub dropout: Scale<'a, S>,
}

/// What a step's forward reads and writes beside.
#[derive(Debug)]
pub struct Forward<'a, S: Element> {
    /// The state before the step; becomes that after it.
    pub state: &'a mut [S::Accum],
    /// Written, where a backward may come: the state before the step.
    pub kept: Option<Output<'a, S::Accum>>,
    /// Written: h.
    pub out: Output<'a, S>,
    /// Asked for meanwhile: the gates of the row that comes next.
    pub next: GateRows<'a, S>,
}

/// What a step's backward reads and writes beside.
#[derive(Debug)]
pub struct Backward<'a, S: Element> {
    /// The state before the step.
    pub before: &'a [S::Accum],
    /// Gradient of h.
    pub out: &'a [S],
    /// Gradient of the state after the step, from later ones; becomes that of the state before it.
    pub carry: &'a mut [S::Accum],
    /// Written: gradients of z, f and o before their activation.
    pub gates: [Output<'a, S>; 3],
    /// Asked for meanwhile: gates, state and gradient of the row that comes next.
    pub next: (GateRows<'a, S>, &'a [S::Accum], &'a [S]),
}

// The functions below are `inline(always)`, and loop with `for`, because only what is inlined into
// a function compiled for an instruction set is compiled for it: a closure may stay outside.

/// The first n groups of a row.
#[inline(always)]
fn groups<S>(row: &[S], n: usize) -> &[[S; LANES]] {
    &row.as_chunks().0[..n]
}

/// Asks for the cache line of the number at `at`.
#[inline(always)]
fn prefetch<S>(row: &[S], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint; any address will do.
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

/// One feature: the new state and the output.
#[inline(always)]
fn forward_one<S: Element>(
    (z, f, o): (S, S, S),
    (keep, dropout): (S::Accum, S::Accum),
    before: S::Accum,
) -> (S::Accum, S) {
    let (z, f, o) = Accum::gates(z.widen(), f.widen(), o.widen());
    let c = (f * keep).mul_add(z - before, before);
    (c, S::narrow(o * c * dropout))
}

#[inline(always)]
fn forward<S: Element>(step: Step<'_, S>, row: Forward<'_, S>) {
    let Step { gates: GateRows { z, f, o }, keep, dropout } = step;
    let Forward { state, mut kept, mut out, next } = row;
    let whole = state.len() / LANES;
    let [z_groups, f_groups, o_groups] = [z, f, o].map(|row| groups(row, whole));
    let (states, rest) = state.as_chunks_mut::<LANES>();
    for g in 0..whole {
        next.prefetch(g * LANES);
        let (z, f, o) = (&z_groups[g], &f_groups[g], &o_groups[g]);
        let (keep, dropout) = (keep.group(g), dropout.group(g));
        // Copies: the compiler then knows that nothing that is written is read again.
        let (before, mut after, mut h) = (states[g], [S::Accum::ONE; LANES], [S::default(); LANES]);
        for i in 0..LANES {
            (after[i], h[i]) = forward_one((z[i], f[i], o[i]), (keep[i], dropout[i]), before[i]);
        }
        states[g] = after;
        if let Some(kept) = &mut kept {
            kept.put(g, &before);
        }
        out.put(g, &h);
    }
    for (c, i) in rest.iter_mut().zip(whole * LANES..) {
        if let Some(kept) = &mut kept {
            kept.row[i] = *c;
        }
        (*c, out.row[i]) = forward_one((z[i], f[i], o[i]), (keep.at(i), dropout.at(i)), *c);
    }
}

/// One feature: the gradient of the state before, and those of z, f and o.
#[inline(always)]
fn backward_one<S: Element>(
    (z, f, o): (S, S, S),
    (keep, dropout): (S::Accum, S::Accum),
    before: S::Accum,
    out: S,
    carry: S::Accum,
) -> (S::Accum, S, S, S) {
    let one = S::Accum::ONE;
    let (z, f, o) = Accum::gates(z.widen(), f.widen(), o.widen());
    let (kept, to_z) = (f * keep, z - before);
    let c = kept.mul_add(to_z, before);
    let own = out.widen() * dropout * o;
    let grad = own + carry;
    let by_gate = grad * kept;
    (
        grad - by_gate,
        S::narrow(by_gate * (one - z * z)),
        S::narrow(by_gate * to_z * (one - f)),
        S::narrow(own * c * (one - o)),
    )
}

#[inline(always)]
fn backward<S: Element>(step: Step<'_, S>, row: Backward<'_, S>) {
    let Step { gates: GateRows { z, f, o }, keep, dropout } = step;
    let Backward { before, out, carry, gates: [mut by_z, mut by_f, mut by_o], next } = row;
    let whole = carry.len() / LANES;
    let [z_groups, f_groups, o_groups, outs] = [z, f, o, out].map(|row| groups(row, whole));
    let (befores, (carries, rest)) = (groups(before, whole), carry.as_chunks_mut::<LANES>());
    for g in 0..whole {
        let (next_gates, next_before, next_out) = next;
        next_gates.prefetch(g * LANES);
        prefetch(next_before, g * LANES);
        prefetch(next_out, g * LANES);
        let (z, f, o) = (&z_groups[g], &f_groups[g], &o_groups[g]);
        let (keep, dropout, before, out) = (keep.group(g), dropout.group(g), &befores[g], &outs[g]);
        let (later, mut earlier) = (carries[g], [S::Accum::ONE; LANES]);
        let [mut of_z, mut of_f, mut of_o] = [[S::default(); LANES]; 3];
        for i in 0..LANES {
            let factors = (keep[i], dropout[i]);
            (earlier[i], of_z[i], of_f[i], of_o[i]) =
                backward_one((z[i], f[i], o[i]), factors, before[i], out[i], later[i]);
        }
        carries[g] = earlier;
        by_z.put(g, &of_z);
        by_f.put(g, &of_f);
        by_o.put(g, &of_o);
    }
    for (carry, i) in rest.iter_mut().zip(whole * LANES..) {
        let factors = (keep.at(i), dropout.at(i));
        (*carry, by_z.row[i], by_f.row[i], by_o.row[i]) =
            backward_one((z[i], f[i], o[i]), factors, before[i], out[i], *carry);
    }
}

/// A [`Element`] whose row kernels are compiled for each instruction set. All rows of a call are of
/// one length.
pub trait PoolElement: Element {
    /// c ← f·keep·z + (1 - f·keep)·c and h = o·c·dropout.
    fn forward_row(step: Step<'_, Self>, row: Forward<'_, Self>);

    /// The gradients of z, f, o and the state before.
    fn backward_row(step: Step<'_, Self>, row: Backward<'_, Self>);
}

macro_rules! pool_stored {
    ($stored:ty, $forward:ident, $backward:ident) => {
        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $forward(step: Step<'_, $stored>, row: Forward<'_, $stored>) {
            forward(step, row);
        }

        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $backward(step: Step<'_, $stored>, row: Backward<'_, $stored>) {
            backward(step, row);
        }

        impl PoolElement for $stored {
            fn forward_row(step: Step<'_, Self>, row: Forward<'_, Self>) {
                $forward(step, row);
            }

            fn backward_row(step: Step<'_, Self>, row: Backward<'_, Self>) {
                $backward(step, row);
            }
        }
    };
}

pool_stored!(f32, forward_f32, backward_f32);
pool_stored!(f64, forward_f64, backward_f64);
pool_stored!(Bf16, forward_bf16, backward_bf16);
