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

/// The gradients of [`GateRows`], written by the backward.
#[derive(Debug)]
pub struct GateGradRows<'a, R> {
    /// With respect to z before tanh.
    pub z: &'a mut [R],
    /// With respect to f before the sigmoid.
    pub f: &'a mut [R],
    /// With respect to o before the sigmoid.
    pub o: &'a mut [R],
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
    let step = |i: usize, keep: R| {
        let f = f[i].sigmoid() * keep;
        let state = f * z[i].tanh() + (R::ONE - f) * before[i];
        (state, o[i].sigmoid() * state)
    };
    match keep {
        KeepRow::All(keep) => (0..n).for_each(|i| (c[i], h[i]) = step(i, keep)),
        KeepRow::Each(keep) => {
            let keep = &keep[..n];
            (0..n).for_each(|i| (c[i], h[i]) = step(i, keep[i]));
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)] // rows of one recurrence; a struct would only rename them
fn backward<R: Real>(
    gates: GateRows<'_, R>,
    keep: KeepRow<'_, R>,
    before: &[R],
    c: &[R],
    grad_h: &[R],
    carry: &mut [R],
    out: GateGradRows<'_, R>,
) {
    let n = carry.len();
    let GateRows { z, f, o } = gates;
    let (z, f, o, before) = (&z[..n], &f[..n], &o[..n], &before[..n]);
    let (c, grad_h) = (&c[..n], &grad_h[..n]);
    let (out_z, out_f, out_o) = (&mut out.z[..n], &mut out.f[..n], &mut out.o[..n]);
    let mut step = |i: usize, keep: R| {
        let (z, f, o) = (z[i].tanh(), f[i].sigmoid(), o[i].sigmoid());
        let kept = f * keep;
        let grad_c = grad_h[i] * o + carry[i];
        out_o[i] = grad_h[i] * c[i] * o * (R::ONE - o);
        out_z[i] = grad_c * kept * (R::ONE - z * z);
        out_f[i] = grad_c * (z - before[i]) * keep * f * (R::ONE - f);
        carry[i] = grad_c * (R::ONE - kept);
    };
    match keep {
        KeepRow::All(keep) => (0..n).for_each(|i| step(i, keep)),
        KeepRow::Each(keep) => {
            let keep = &keep[..n];
            (0..n).for_each(|i| step(i, keep[i]));
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
    fn backward_row(
        gates: GateRows<'_, Self>,
        keep: KeepRow<'_, Self>,
        before: &[Self],
        c: &[Self],
        grad_h: &[Self],
        carry: &mut [Self],
        out: GateGradRows<'_, Self>,
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
        fn $backward(
            gates: GateRows<'_, $real>,
            keep: KeepRow<'_, $real>,
            before: &[$real],
            c: &[$real],
            grad_h: &[$real],
            carry: &mut [$real],
            out: GateGradRows<'_, $real>,
        ) {
            backward(gates, keep, before, c, grad_h, carry, out);
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
                out: GateGradRows<'_, Self>,
            ) {
                $backward(gates, keep, before, c, grad_h, carry, out);
            }
        }
    };
}

pool_real!(f32, forward_f32, backward_f32);
pool_real!(f64, forward_f64, backward_f64);
