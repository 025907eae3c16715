//! fo-pooling along one stretch of features at one time step, compiled for AVX-512, AVX2 and the
//! plain instruction set, and picked at run time.

use multiversion::multiversion;

use super::real::Real;
use super::stored::{Bf16, Stored};

/// Numbers of a row that are computed between two looks ahead.
const BLOCK: usize = 128;

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

/// What multiplies the forget gate.
#[derive(Debug, Clone, Copy)]
pub enum KeepRow<'a, S: Stored> {
    /// The same number for all features: 1, or 1 - p of zoneout in evaluation.
    All(S::Real),
    /// Zoneout's mask of zeros and ones.
    Each(&'a [S]),
}

/// Features that a task takes along: its state, and the [`Factors`] of some steps, stay in the second-level
/// cache.
pub const STRETCH: usize = 1024;

/// What one step's gradients need of the step itself: with G the gradient of its state,
/// G = own + (that from later steps), and the gradients of z, f and the state before are G times
/// `by_z`, `by_f` and `forget`. Arrays of one struct, so that the compiler knows them apart.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Factors<R> {
    /// The part of G that comes through the step's own output.
    own: [R; STRETCH],
    /// For z.
    by_z: [R; STRETCH],
    /// For f.
    by_f: [R; STRETCH],
    /// For the state before: 1 - f.
    forget: [R; STRETCH],
}

impl<R: Copy + Default> Default for Factors<R> {
    fn default() -> Self {
        let zeros = [R::default(); STRETCH];
        Self { own: zeros, by_z: zeros, by_f: zeros, forget: zeros }
    }
}

// The functions below are `inline(always)`, and loop with `for`, because only what is inlined into
// a function compiled for an instruction set is compiled for it: a closure may stay outside.

/// Asks for the cache lines of a part of a row.
#[inline(always)]
fn prefetch<S>(row: &[S], start: usize, end: usize) {
    #[cfg(target_arch = "x86_64")]
    for i in (start..end).step_by(64 / size_of::<S>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint; any address will do.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(row.as_ptr().wrapping_add(i).cast()) };
    }
}

/// One feature, one step: the new state and the output.
#[inline(always)]
fn step<S: Stored>(
    (z, f, o): (S, S, S),
    keep: S::Real,
    dropout: S::Real,
    before: S::Real,
) -> (S::Real, S) {
    let (z, f, o) = Real::gates(z.widen(), f.widen(), o.widen());
    let f = f * keep;
    let c = f * z + (S::Real::ONE - f) * before;
    (c, S::narrow(o * c * dropout))
}

#[inline(always)]
fn forward<S: Stored>(
    gates: GateRows<'_, S>,
    keep: KeepRow<'_, S>,
    dropout: &[S::Real],
    c: &mut [S::Real],
    h: &mut [S],
    next: Option<GateRows<'_, S>>,
) {
    let n = c.len();
    let GateRows { z, f, o } = gates;
    // Equal lengths, said once, let the compiler drop the bounds checks in the loop.
    let (z, f, o, dropout, h) = (&z[..n], &f[..n], &o[..n], &dropout[..n], &mut h[..n]);
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        if let Some(next) = next {
            prefetch(next.z, start, end);
            prefetch(next.f, start, end);
            prefetch(next.o, start, end);
        }
        match keep {
            KeepRow::All(keep) => {
                for i in start..end {
                    (c[i], h[i]) = step((z[i], f[i], o[i]), keep, dropout[i], c[i]);
                }
            }
            KeepRow::Each(keep) => {
                let keep = &keep[..n];
                for i in start..end {
                    (c[i], h[i]) = step((z[i], f[i], o[i]), keep[i].widen(), dropout[i], c[i]);
                }
            }
        }
    }
}

/// One feature, one step: the new state, the gradient of o, and the step's [`Factors`].
#[inline(always)]
fn reduce_step<S: Stored>(
    (z, f, o): (S, S, S),
    keep: S::Real,
    before: S::Real,
    grad_h: S::Real,
) -> (S::Real, S, [S::Real; 4]) {
    let one = S::Real::ONE;
    let (z, f, o) = Real::gates(z.widen(), f.widen(), o.widen());
    let kept = f * keep;
    let own = grad_h * o;
    let by_z = kept * (one - z * z);
    let by_f = (z - before) * kept * (one - f);
    let forget = one - kept;
    let c = kept * z + forget * before;
    (c, S::narrow(own * c * (one - o)), [own, by_z, by_f, forget])
}

#[inline(always)]
#[allow(clippy::too_many_arguments)] // each a parameter of its own: so the compiler knows that none overlaps
fn reduce<S: Stored>(
    gates: GateRows<'_, S>,
    keep: KeepRow<'_, S>,
    dropout: &[S::Real],
    grad_h: &[S],
    c: &mut [S::Real],
    grad_o: &mut [S],
    factors: &mut Factors<S::Real>,
    next: Option<(GateRows<'_, S>, &[S])>,
) {
    let n = c.len();
    let GateRows { z, f, o } = gates;
    let (z, f, o, dropout, grad_h) = (&z[..n], &f[..n], &o[..n], &dropout[..n], &grad_h[..n]);
    let (own, by_z) = (&mut factors.own[..n], &mut factors.by_z[..n]);
    let (by_f, forget) = (&mut factors.by_f[..n], &mut factors.forget[..n]);
    let grad_o = &mut grad_o[..n];
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        if let Some((next, next_grad)) = next {
            prefetch(next.z, start, end);
            prefetch(next.f, start, end);
            prefetch(next.o, start, end);
            prefetch(next_grad, start, end);
        }
        match keep {
            KeepRow::All(keep) => {
                for i in start..end {
                    let grad = grad_h[i].widen() * dropout[i];
                    let factors;
                    (c[i], grad_o[i], factors) = reduce_step((z[i], f[i], o[i]), keep, c[i], grad);
                    [own[i], by_z[i], by_f[i], forget[i]] = factors;
                }
            }
            KeepRow::Each(keep) => {
                let keep = &keep[..n];
                for i in start..end {
                    let (grad, keep) = (grad_h[i].widen() * dropout[i], keep[i].widen());
                    let factors;
                    (c[i], grad_o[i], factors) = reduce_step((z[i], f[i], o[i]), keep, c[i], grad);
                    [own[i], by_z[i], by_f[i], forget[i]] = factors;
                }
            }
        }
    }
}

#[inline(always)]
fn carry_back<S: Stored>(
    factors: &Factors<S::Real>,
    carry: &mut [S::Real],
    grad_z: &mut [S],
    grad_f: &mut [S],
) {
    let n = carry.len();
    let (own, by_z) = (&factors.own[..n], &factors.by_z[..n]);
    let (by_f, forget) = (&factors.by_f[..n], &factors.forget[..n]);
    let (grad_z, grad_f) = (&mut grad_z[..n], &mut grad_f[..n]);
    for i in 0..n {
        let grad_c = own[i] + carry[i];
        grad_z[i] = S::narrow(grad_c * by_z[i]);
        grad_f[i] = S::narrow(grad_c * by_f[i]);
        carry[i] = grad_c * forget[i];
    }
}

/// A [`Stored`] whose row kernels are compiled for each instruction set.
pub trait PoolStored: Stored {
    /// c ← f·keep·z + (1 - f·keep)·c and h = o·c·dropout, each of c's length. `next` are the gates of
    /// the next step, which are asked for meanwhile.
    fn forward_row(
        gates: GateRows<'_, Self>,
        keep: KeepRow<'_, Self>,
        dropout: &[Self::Real],
        c: &mut [Self::Real],
        h: &mut [Self],
        next: Option<GateRows<'_, Self>>,
    );

    /// One step of the forward again: c becomes the new state; writes the gradient of o before its
    /// activation, and what the other gradients need of the step. `next` are gates and gradient of
    /// the step that comes next.
    #[allow(clippy::too_many_arguments)] // as `reduce`
    fn reduce_row(
        gates: GateRows<'_, Self>,
        keep: KeepRow<'_, Self>,
        dropout: &[Self::Real],
        grad_h: &[Self],
        c: &mut [Self::Real],
        grad_o: &mut [Self],
        factors: &mut Factors<Self::Real>,
        next: Option<(GateRows<'_, Self>, &[Self])>,
    );

    /// The gradients of z and f before activation; `carry` holds the state's gradient from the later
    /// steps, and then that for the earlier ones.
    fn carry_row(
        factors: &Factors<Self::Real>,
        carry: &mut [Self::Real],
        grad_z: &mut [Self],
        grad_f: &mut [Self],
    );
}

macro_rules! pool_stored {
    ($stored:ty, $real:ty, $forward:ident, $reduce:ident, $carry:ident) => {
        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $forward(
            gates: GateRows<'_, $stored>,
            keep: KeepRow<'_, $stored>,
            dropout: &[$real],
            c: &mut [$real],
            h: &mut [$stored],
            next: Option<GateRows<'_, $stored>>,
        ) {
            forward(gates, keep, dropout, c, h, next);
        }

        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        #[allow(clippy::too_many_arguments)]
        fn $reduce(
            gates: GateRows<'_, $stored>,
            keep: KeepRow<'_, $stored>,
            dropout: &[$real],
            grad_h: &[$stored],
            c: &mut [$real],
            grad_o: &mut [$stored],
            factors: &mut Factors<$real>,
            next: Option<(GateRows<'_, $stored>, &[$stored])>,
        ) {
            reduce(gates, keep, dropout, grad_h, c, grad_o, factors, next);
        }

        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $carry(
            factors: &Factors<$real>,
            carry: &mut [$real],
            grad_z: &mut [$stored],
            grad_f: &mut [$stored],
        ) {
            carry_back(factors, carry, grad_z, grad_f);
        }

        impl PoolStored for $stored {
            fn forward_row(
                gates: GateRows<'_, Self>,
                keep: KeepRow<'_, Self>,
                dropout: &[$real],
                c: &mut [$real],
                h: &mut [Self],
                next: Option<GateRows<'_, Self>>,
            ) {
                $forward(gates, keep, dropout, c, h, next);
            }

            fn reduce_row(
                gates: GateRows<'_, Self>,
                keep: KeepRow<'_, Self>,
                dropout: &[$real],
                grad_h: &[Self],
                c: &mut [$real],
                grad_o: &mut [Self],
                factors: &mut Factors<$real>,
                next: Option<(GateRows<'_, Self>, &[Self])>,
            ) {
                $reduce(gates, keep, dropout, grad_h, c, grad_o, factors, next);
            }

            fn carry_row(
                factors: &Factors<$real>,
                carry: &mut [$real],
                grad_z: &mut [Self],
                grad_f: &mut [Self],
            ) {
                $carry(factors, carry, grad_z, grad_f);
            }
        }
    };
}

pool_stored!(f32, f32, forward_f32, reduce_f32, carry_f32);
pool_stored!(f64, f64, forward_f64, reduce_f64, carry_f64);
pool_stored!(Bf16, f32, forward_bf16, reduce_bf16, carry_bf16);
