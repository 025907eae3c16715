//! Softmax and cross entropy over rows of logits, value and gradient in one visit.

use std::sync::{Mutex, PoisonError};

use multiversion::multiversion;
use tch::{Device, Kind, TchError, Tensor};

use crate::libtorch::parallel_for;
use crate::simd::{Accum, Bf16, Element};
use crate::{Result, profile};

/// Logits worth a thread of their own.
const GRAIN: usize = 16_384;

/// Lanes of the sums; independent ones let the compiler use vectors.
const LANES: usize = 16;

/// Lane sums are added up in double precision this often, so that wide rows stay exact.
const BLOCK: usize = 4096;

/// What is to become of the gradient.
#[derive(Clone, Copy)]
pub(super) struct Gradient<'a> {
    /// Its factor.
    pub scale: f64,
    /// (classes): the sum over all rows is added here.
    pub sums: &'a Tensor,
}

/// The cross entropy of all rows, and in `logits` the gradient of each.
///
/// * `logits`: (rows, classes), contiguous, without their bias; overwritten where a gradient is asked
///   for;
/// * `bias`: (classes), contiguous, of the kind that is computed in: Float beside bf16 logits;
/// * `targets`: one class a row.
///
/// Returns the sum of the losses, in nats.
///
/// # Errors
/// [`crate::Error::Torch`] where libtorch fails, or for logits of another kind.
pub(super) fn cross_entropy(
    logits: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    gradient: Option<Gradient<'_>>,
) -> Result<f64> {
    let _stage = profile::stage("softmax");
    match logits.kind() {
        Kind::Float => rows::<f32>(logits, bias, targets, gradient),
        Kind::Double => rows::<f64>(logits, bias, targets, gradient),
        Kind::BFloat16 => rows::<Bf16>(logits, bias, targets, gradient),
        kind => Err(TchError::Torch(format!("no cross entropy of {kind:?} logits")).into()),
    }
}

/// A [`Element`] whose row kernel is compiled for each instruction set.
trait RowElement: Element {
    fn row(
        logits: &mut [Self],
        bias: &[Self::Accum],
        target: usize,
        gradient: Option<RowGradient<'_, Self::Accum>>,
    ) -> f64;
}

/// Where a row's gradient is made.
struct RowGradient<'a, R> {
    scale: f64,
    /// (classes): room for the exponentials.
    room: &'a mut [R],
    /// (classes): added to.
    sums: &'a mut [R],
}

fn rows<S: RowElement>(
    logits: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    gradient: Option<Gradient<'_>>,
) -> Result<f64> {
    /// A tensor whose disjoint rows many threads write.
    struct Shared<T>(*mut T);
    // SAFETY: each row belongs to one task of `parallel_for`.
    unsafe impl<T> Sync for Shared<T> {}
    impl<T> Shared<T> {
        fn at(&self, i: usize) -> *mut T {
            self.0.wrapping_add(i)
        }
    }

    debug_assert!(logits.is_contiguous() && logits.size()[0] as usize == targets.len());
    debug_assert!(bias.is_contiguous() && bias.kind() == S::Accum::KIND);
    let classes = logits.size()[1] as usize;
    let values = Shared(logits.data_ptr().cast::<S>());
    // SAFETY: `bias` is contiguous, of this kind and length, and nobody writes it meanwhile.
    let bias = unsafe { std::slice::from_raw_parts(bias.data_ptr().cast::<S::Accum>(), classes) };
    /// Of one task.
    struct Part<R> {
        first_row: usize,
        loss: f64,
        sums: Vec<R>,
    }
    let parts: Mutex<Vec<Part<S::Accum>>> = Mutex::new(vec![]);
    let scale = gradient.map(|gradient| gradient.scale);
    parallel_for(targets.len(), GRAIN.div_ceil(classes.max(1)), |rows| {
        let (first_row, mut loss) = (rows.start, 0.0);
        let zeros = || vec![S::Accum::default(); if scale.is_some() { classes } else { 0 }];
        let (mut room, mut sums) = (zeros(), zeros());
        for i in rows {
            // SAFETY: row i lies inside the contiguous (rows, classes) tensor, which outlives the
            // call, and only this task touches it.
            let row = unsafe { std::slice::from_raw_parts_mut(values.at(i * classes), classes) };
            let gradient =
                scale.map(|scale| RowGradient { scale, room: &mut room, sums: &mut sums });
            loss += S::row(row, bias, targets[i] as usize, gradient);
        }
        let part = Part { first_row, loss, sums };
        parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    })?;
    let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
    // In the order of their rows, so that the result does not depend on who was first.
    parts.sort_by_key(|part| part.first_row);
    if let Some(gradient) = gradient {
        let mut sums = gradient.sums.shallow_clone();
        for Part { sums: part, .. } in &parts {
            // SAFETY: the vector outlives the tensor made of it, which has its kind and size.
            let part = unsafe {
                let (size, kind) = (&[classes as i64], S::Accum::KIND);
                Tensor::f_from_blob(part.as_ptr().cast(), size, &[1], kind, Device::Cpu)?
            };
            let _ = sums.f_add_(&part)?;
        }
    }
    Ok(parts.iter().map(|part| part.loss).sum())
}

/// The largest logit, by lanes. A NaN may be passed over: it makes the sum one.
#[inline(always)]
fn largest<S: Element>(logits: &[S], bias: &[S::Accum]) -> S::Accum {
    let mut top = [logits[0].widen() + bias[0]; LANES];
    let larger = |a: S::Accum, b: S::Accum| if b > a { b } else { a };
    let mut parts = logits.chunks_exact(LANES).zip(bias.chunks_exact(LANES));
    for (logits, bias) in &mut parts {
        for lane in 0..LANES {
            top[lane] = larger(top[lane], logits[lane].widen() + bias[lane]);
        }
    }
    let rest = logits.len() / LANES * LANES;
    for (logit, bias) in logits[rest..].iter().zip(&bias[rest..]) {
        top[0] = larger(top[0], logit.widen() + *bias);
    }
    top.into_iter().fold(top[0], larger)
}

/// The sum of exp(logit + bias - top), and in `room`, where it is not empty, each of them.
#[inline(always)]
fn exponentials<S: Element>(
    logits: &[S],
    bias: &[S::Accum],
    top: S::Accum,
    room: &mut [S::Accum],
) -> f64 {
    let mut sum = 0.0f64;
    for start in (0..logits.len()).step_by(BLOCK) {
        let end = (start + BLOCK).min(logits.len());
        let (logits, bias) = (&logits[start..end], &bias[start..end]);
        let mut lanes = [S::Accum::default(); LANES];
        let whole = logits.len() / LANES * LANES;
        for at in (0..whole).step_by(LANES) {
            let (logits, bias) = (&logits[at..at + LANES], &bias[at..at + LANES]);
            let mut e = [S::Accum::default(); LANES];
            for lane in 0..LANES {
                e[lane] = Accum::exp(logits[lane].widen() + bias[lane] - top);
                lanes[lane] = lanes[lane] + e[lane];
            }
            if let Some(room) = room.get_mut(start + at..start + at + LANES) {
                room.copy_from_slice(&e);
            }
        }
        for at in whole..logits.len() {
            let e = Accum::exp(logits[at].widen() + bias[at] - top);
            lanes[0] = lanes[0] + e;
            if let Some(room) = room.get_mut(start + at) {
                *room = e;
            }
        }
        for lane in lanes {
            sum += lane.to_f64();
        }
    }
    sum
}

#[inline(always)]
fn row<S: Element>(
    logits: &mut [S],
    bias: &[S::Accum],
    target: usize,
    gradient: Option<RowGradient<'_, S::Accum>>,
) -> f64 {
    let bias = &bias[..logits.len()];
    let top = largest(logits, bias);
    let at_target = logits[target].widen() + bias[target];
    let sum = match gradient {
        None => exponentials(logits, bias, top, &mut []),
        Some(RowGradient { scale, room, sums }) => {
            let room = &mut room[..logits.len()];
            let sum = exponentials(logits, bias, top, room);
            let (factor, scale) = (S::Accum::from_f64(scale / sum), S::Accum::from_f64(scale));
            let of_target = room[target] * factor - scale;
            for ((value, e), sum) in logits.iter_mut().zip(&*room).zip(sums.iter_mut()) {
                let share = *e * factor;
                *value = S::narrow(share);
                *sum = *sum + share;
            }
            logits[target] = S::narrow(of_target);
            sums[target] = sums[target] - scale;
            sum
        }
    };
    sum.ln() + (top - at_target).to_f64()
}

macro_rules! row_stored {
    ($stored:ty, $real:ty, $row:ident) => {
        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $row(
            logits: &mut [$stored],
            bias: &[$real],
            target: usize,
            gradient: Option<RowGradient<'_, $real>>,
        ) -> f64 {
            row(logits, bias, target, gradient)
        }

        impl RowElement for $stored {
            fn row(
                logits: &mut [Self],
                bias: &[$real],
                target: usize,
                gradient: Option<RowGradient<'_, $real>>,
            ) -> f64 {
                $row(logits, bias, target, gradient)
            }
        }
    };
}

row_stored!(f32, f32, row_f32);
row_stored!(f64, f64, row_f64);
row_stored!(Bf16, f32, row_bf16);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: &Tensor, b: &Tensor, tolerance: f64) -> bool {
        let difference = a.to_kind(Kind::Double) - b.to_kind(Kind::Double);
        difference.abs().max().double_value(&[]) <= tolerance
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn equals_torch_in_value_and_gradient(
            rows in 1..9i64, classes in prop_oneof![1..50i64, 4090..4120i64], seed: u32,
        ) {
            tch::manual_seed(i64::from(seed));
            let options = (Kind::Double, Device::Cpu);
            let targets: Vec<i64> = (0..rows).map(|i| (i * 7919) % classes).collect();
            for (kind, state, tolerance) in [
                (Kind::Double, Kind::Double, 1e-12f64),
                (Kind::Float, Kind::Float, 3e-5),
                // The logits are exact; half a unit of 8 bits is lost where the gradient is stored.
                (Kind::BFloat16, Kind::Float, 0.5 / 256.0),
            ] {
                let logits = (Tensor::randn([rows, classes], options) * 5.0).to_kind(kind);
                let bias = Tensor::randn([classes], options).to_kind(state);
                let leaf = logits.to_kind(Kind::Double).set_requires_grad(true);
                let with_bias = &leaf + bias.to_kind(Kind::Double);
                let loss = with_bias.cross_entropy_loss::<Tensor>(
                    &Tensor::from_slice(&targets), None, tch::Reduction::Sum, -100, 0.0);
                (&loss * 0.5).backward();
                let exact = loss.double_value(&[]);

                let alone = cross_entropy(&logits, &bias, &targets, None).unwrap();
                let sums = Tensor::ones([classes], (state, Device::Cpu));
                let gradient = Gradient { scale: 0.5, sums: &sums };
                let sum = cross_entropy(&logits, &bias, &targets, Some(gradient)).unwrap();
                let bound = tolerance.min(3e-5) * sum.max(1.0);
                prop_assert!((sum - exact).abs() <= bound && (alone - exact).abs() <= bound);
                let by_class = leaf.grad().sum_dim_intlist(0, false, None::<Kind>) + 1.0;
                prop_assert!(close(&sums, &by_class, 10.0 * tolerance.min(3e-5)));
                prop_assert!(close(&logits, &leaf.grad(), tolerance));
            }
        }
    }

    #[test]
    fn a_nan_logit_gives_a_nan_loss() {
        let bias = Tensor::zeros([41], (Kind::Float, Device::Cpu));
        for kind in [Kind::Float, Kind::BFloat16] {
            for place in [0, 5, 40] {
                let logits = Tensor::zeros([1, 41], (kind, Device::Cpu));
                let _ = logits.get(0).get(place).fill_(f64::NAN);
                assert!(cross_entropy(&logits, &bias, &[3], None).unwrap().is_nan());
            }
        }
    }

    #[test]
    fn other_kinds_are_refused() {
        let zeros = Tensor::zeros([1, 4], (Kind::Half, Device::Cpu));
        assert!(cross_entropy(&zeros, &zeros.get(0), &[3], None).is_err());
    }
}
