//! fo-pooling along one stretch of features at one time step, compiled for AVX-512, AVX2 and the
//! plain instruction set, and picked at run time.

use multiversion::multiversion;

use super::real::Real;

/// The linear map's output at one time step: the gates before their activation.
#[derive(Debug, Clone, Copy)]
pub struct GateRows<'a, R> {
    /// Candidate, before tanh.
    pub z: &'a [R],
    /// Forget gate, before the sigmoid.
    pub f: &'a [R],
    /// Output gate, before the sigmoid.
    pub o: &'a [R],
}

/// What multiplies the forget gate.
#[derive(Debug, Clone, Copy)]
pub enum KeepRow<'a, R> {
    /// The same number for all features: 1, or 1 - p of zoneout in evaluation.
    All(R),
    /// Zoneout's mask of zeros and ones.
    Each(&'a [R]),
}

// The functions below are `inline(always)`, and loop with `for`, because only what is inlined into
// a function compiled for an instruction set is compiled for it: a closure may stay outside.

/// One feature, one step: the new state and the output.
#[inline(always)]
fn step<R: Real>(z: R, f: R, o: R, keep: R, before: R) -> (R, R) {
    let (z, f, o) = R::gates(z, f, o);
    let f = f * keep;
    let c = f * z + (R::ONE - f) * before;
    (c, o * c)
}

#[inline(always)]
fn forward<R: Real>(
    gates: GateRows<'_, R>,
    keep: KeepRow<'_, R>,
    before: &[R],
    c: &mut [R],
    h: &mut [R],
) {
    let n = c.len();
    let GateRows { z, f, o } = gates;
    // Equal lengths, said once, let the compiler drop the bounds checks in the loop.
    let (z, f, o, before, h) = (&z[..n], &f[..n], &o[..n], &before[..n], &mut h[..n]);
    match keep {
        KeepRow::All(keep) => {
            for i in 0..n {
                (c[i], h[i]) = step(z[i], f[i], o[i], keep, before[i]);
            }
        }
        KeepRow::Each(keep) => {
            let keep = &keep[..n];
            for i in 0..n {
                (c[i], h[i]) = step(z[i], f[i], o[i], keep[i], before[i]);
            }
        }
    }
}

/// One feature, one step back: the gradients of z, f, o before activation, and of the state before.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // the scalars of one recurrence; a struct would only rename them
fn step_back<R: Real>(
    z: R,
    f: R,
    o: R,
    keep: R,
    before: R,
    c: R,
    grad_h: R,
    carry: R,
) -> (R, R, R, R) {
    let (z, f, o) = R::gates(z, f, o);
    let kept = f * keep;
    let grad_c = grad_h * o + carry;
    let grad_z = grad_c * kept * (R::ONE - z * z);
    let grad_f = grad_c * (z - before) * kept * (R::ONE - f);
    let grad_o = grad_h * c * o * (R::ONE - o);
    (grad_z, grad_f, grad_o, grad_c * (R::ONE - kept))
}

// Each output is a parameter of its own: only so does the compiler know that none overlaps another.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn backward<R: Real>(
    gates: GateRows<'_, R>,
    keep: KeepRow<'_, R>,
    before: &[R],
    c: &[R],
    grad_h: &[R],
    carry: &mut [R],
    out_z: &mut [R],
    out_f: &mut [R],
    out_o: &mut [R],
) {
    let n = carry.len();
    let GateRows { z, f, o } = gates;
    let (z, f, o, before) = (&z[..n], &f[..n], &o[..n], &before[..n]);
    let (c, grad_h) = (&c[..n], &grad_h[..n]);
    let (out_z, out_f, out_o) = (&mut out_z[..n], &mut out_f[..n], &mut out_o[..n]);
    match keep {
        KeepRow::All(keep) => {
            for i in 0..n {
                (out_z[i], out_f[i], out_o[i], carry[i]) =
                    step_back(z[i], f[i], o[i], keep, before[i], c[i], grad_h[i], carry[i]);
            }
        }
        KeepRow::Each(keep) => {
            let keep = &keep[..n];
            for i in 0..n {
                (out_z[i], out_f[i], out_o[i], carry[i]) =
                    step_back(z[i], f[i], o[i], keep[i], before[i], c[i], grad_h[i], carry[i]);
            }
        }
    }
}

/// A [`Real`] whose row kernels are compiled for each instruction set.
pub trait PoolReal: Real {
    /// c = f·keep·z + (1 - f·keep)·before and h = o·c, each of c's length.
    fn forward_row(
        gates: GateRows<'_, Self>,
        keep: KeepRow<'_, Self>,
        before: &[Self],
        c: &mut [Self],
        h: &mut [Self],
    );

    /// The gradients of one step; `carry` holds the state's gradient from the later steps, and
    /// then that for the earlier ones.
    #[allow(clippy::too_many_arguments)]
    fn backward_row(
        gates: GateRows<'_, Self>,
        keep: KeepRow<'_, Self>,
        before: &[Self],
        c: &[Self],
        grad_h: &[Self],
        carry: &mut [Self],
        out_z: &mut [Self],
        out_f: &mut [Self],
        out_o: &mut [Self],
    );
}

macro_rules! pool_real {
    ($real:ty, $forward:ident, $backward:ident) => {
        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $forward(
            gates: GateRows<'_, $real>,
            keep: KeepRow<'_, $real>,
            before: &[$real],
            c: &mut [$real],
            h: &mut [$real],
        ) {
            forward(gates, keep, before, c, h);
        }

        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        #[allow(clippy::too_many_arguments)]
        fn $backward(
            gates: GateRows<'_, $real>,
            keep: KeepRow<'_, $real>,
            before: &[$real],
            c: &[$real],
            grad_h: &[$real],
            carry: &mut [$real],
            out_z: &mut [$real],
            out_f: &mut [$real],
            out_o: &mut [$real],
        ) {
            backward(gates, keep, before, c, grad_h, carry, out_z, out_f, out_o);
        }

        impl PoolReal for $real {
            fn forward_row(
                gates: GateRows<'_, Self>,
                keep: KeepRow<'_, Self>,
                before: &[Self],
                c: &mut [Self],
                h: &mut [Self],
            ) {
                $forward(gates, keep, before, c, h);
            }

            fn backward_row(
                gates: GateRows<'_, Self>,
                keep: KeepRow<'_, Self>,
                before: &[Self],
                c: &[Self],
                grad_h: &[Self],
                carry: &mut [Self],
                out_z: &mut [Self],
                out_f: &mut [Self],
                out_o: &mut [Self],
            ) {
                $backward(gates, keep, before, c, grad_h, carry, out_z, out_f, out_o);
            }
        }
    };
}

pool_real!(f32, forward_f32, backward_f32);
pool_real!(f64, forward_f64, backward_f64);
