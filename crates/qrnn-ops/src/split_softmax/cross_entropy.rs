//! Softmax and cross entropy over rows of logits on the CPU, value and gradient in one pass.

use std::sync::{Mutex, PoisonError};

use multiversion::multiversion;
use tch::{Device, Kind, TchError, Tensor};

use crate::Result;
use crate::libtorch::parallel_for;
use crate::profile::{self, Stage};
use crate::simd::{Accum, Bf16, Element};

/// Logits below which another thread does not pay.
const GRAIN: usize = 16_384;

/// Independent partial sums, which let the compiler vectorize.
const LANES: usize = 16;

/// Elements after which partial sums are accumulated in double precision, for accuracy of wide rows.
const BLOCK: usize = 4096;

/// How to compute the gradient.
#[derive(Clone, Copy)]
pub(super) struct Gradient<'a> {
    /// Factor of the gradient.
    pub scale: f64,
    /// (classes): the sum of the gradient over all rows is added to it.
    pub sums: &'a Tensor,
}

/// The sum of the cross entropy over all rows, in nats.
///
/// * `logits`: (rows, classes), contiguous, before adding the bias; overwritten by their gradient
///   if there is a `gradient`;
/// * `bias`: (classes), contiguous, of the logits' kind, or Float for bf16 logits;
/// * `targets`: (rows), classes.
///
/// # Errors
/// [`crate::Error::Torch`] if libtorch fails, or for logits of another kind.
pub(super) fn cross_entropy(
    logits: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    gradient: Option<Gradient<'_>>,
) -> Result<f64> {
    of_rows(logits, bias, targets, gradient, None)
}

/// As [`cross_entropy`] without gradient; also writes the cross entropy of each row, in nats.
///
/// * `losses`: (rows), overwritten.
pub(super) fn cross_entropy_of_rows(
    logits: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    losses: &mut [f64],
) -> Result<f64> {
    of_rows(logits, bias, targets, None, Some(losses))
}

fn of_rows(
    logits: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    gradient: Option<Gradient<'_>>,
    losses: Option<&mut [f64]>,
) -> Result<f64> {
    let _span = profile::span(Stage::Softmax);
    match logits.kind() {
        Kind::Float => rows::<f32>(logits, bias, targets, gradient, losses),
        Kind::Double => rows::<f64>(logits, bias, targets, gradient, losses),
        Kind::BFloat16 => rows::<Bf16>(logits, bias, targets, gradient, losses),
        kind => {
            Err(TchError::Torch(format!("cross entropy does not support {kind:?} logits")).into())
        }
    }
}

/// An [`Element`] whose row kernel is compiled for each instruction set.
trait RowElement: Element {
    fn row(
        logits: &mut [Self],
        bias: &[Self::Accum],
        target: usize,
        gradient: Option<RowGradient<'_, Self::Accum>>,
    ) -> f64;
}

/// Buffers of a row's gradient.
struct RowGradient<'a, R> {
    scale: f64,
    /// (classes): overwritten by the exponentials.
    exponentials: &'a mut [R],
    /// (classes): the gradient is added to it.
    sums: &'a mut [R],
}

fn rows<S: RowElement>(
    logits: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    gradient: Option<Gradient<'_>>,
    losses: Option<&mut [f64]>,
) -> Result<f64> {
    /// A tensor whose disjoint rows are written by many threads.
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
    // SAFETY: `bias` is contiguous, of this kind and length, and nothing writes it meanwhile.
    let bias = unsafe { std::slice::from_raw_parts(bias.data_ptr().cast::<S::Accum>(), classes) };
    /// The sums over the rows of a task.
    struct TaskSums<R> {
        first_row: usize,
        loss: f64,
        /// The loss of each row, if asked for.
        losses: Vec<f64>,
        sums: Vec<R>,
    }
    let each = losses.is_some();
    let tasks: Mutex<Vec<TaskSums<S::Accum>>> = Mutex::new(vec![]);
    let scale = gradient.map(|gradient| gradient.scale);
    parallel_for(targets.len(), GRAIN.div_ceil(classes.max(1)), |rows| {
        let (first_row, mut loss, mut losses) = (rows.start, 0.0, vec![]);
        let zeros = || vec![S::Accum::default(); if scale.is_some() { classes } else { 0 }];
        let (mut exponentials, mut sums) = (zeros(), zeros());
        for i in rows {
            // SAFETY: row i lies inside the contiguous (rows, classes) tensor, which outlives the
            // call, and only this task touches it.
            let row = unsafe { std::slice::from_raw_parts_mut(values.at(i * classes), classes) };
            let gradient = scale.map(|scale| RowGradient {
                scale,
                exponentials: &mut exponentials,
                sums: &mut sums,
            });
            let of_row = S::row(row, bias, targets[i] as usize, gradient);
            loss += of_row;
            if each {
                losses.push(of_row);
            }
        }
        let task = TaskSums { first_row, loss, losses, sums };
        tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    })?;
    let mut tasks = tasks.into_inner().unwrap_or_else(PoisonError::into_inner);
    // A fixed order makes the result independent of the threads' timing.
    tasks.sort_by_key(|task| task.first_row);
    if let Some(losses) = losses {
        for task in &tasks {
            losses[task.first_row..][..task.losses.len()].copy_from_slice(&task.losses);
        }
    }
    if let Some(gradient) = gradient {
        let mut sums = gradient.sums.shallow_clone();
        for task in &tasks {
            // SAFETY: the vector outlives the tensor, which has its kind and size.
            let of_task = unsafe {
                let (size, kind) = (&[classes as i64], S::Accum::KIND);
                Tensor::f_from_blob(task.sums.as_ptr().cast(), size, &[1], kind, Device::Cpu)?
            };
            let _ = sums.f_add_(&of_task)?;
        }
    }
    Ok(tasks.iter().map(|task| task.loss).sum())
}

/// The largest of logit + bias. A NaN may be ignored here: the sum of exponentials is then NaN.
#[inline(always)]
fn max_logit<S: Element>(logits: &[S], bias: &[S::Accum]) -> S::Accum {
    let mut max = [logits[0].widen() + bias[0]; LANES];
    let larger = |a: S::Accum, b: S::Accum| if b > a { b } else { a };
    for (logits, bias) in logits.chunks_exact(LANES).zip(bias.chunks_exact(LANES)) {
        for lane in 0..LANES {
            max[lane] = larger(max[lane], logits[lane].widen() + bias[lane]);
        }
    }
    let rest = logits.len() / LANES * LANES;
    for (logit, bias) in logits[rest..].iter().zip(&bias[rest..]) {
        max[0] = larger(max[0], logit.widen() + *bias);
    }
    max.into_iter().fold(max[0], larger)
}

/// The sum of exp(logit + bias - max); each exponential is written to `out` unless it is empty.
#[inline(always)]
fn sum_exponentials<S: Element>(
    logits: &[S],
    bias: &[S::Accum],
    max: S::Accum,
    out: &mut [S::Accum],
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
                e[lane] = Accum::exp(logits[lane].widen() + bias[lane] - max);
                lanes[lane] = lanes[lane] + e[lane];
            }
            if let Some(out) = out.get_mut(start + at..start + at + LANES) {
                out.copy_from_slice(&e);
            }
        }
        for at in whole..logits.len() {
            let e = Accum::exp(logits[at].widen() + bias[at] - max);
            lanes[0] = lanes[0] + e;
            if let Some(out) = out.get_mut(start + at) {
                *out = e;
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
    let max = max_logit(logits, bias);
    let target_logit = logits[target].widen() + bias[target];
    let sum = match gradient {
        None => sum_exponentials(logits, bias, max, &mut []),
        Some(RowGradient { scale, exponentials, sums }) => {
            let exponentials = &mut exponentials[..logits.len()];
            let sum = sum_exponentials(logits, bias, max, exponentials);
            let (factor, scale) = (S::Accum::from_f64(scale / sum), S::Accum::from_f64(scale));
            let target_grad = exponentials[target] * factor - scale;
            for ((logit, e), sum) in logits.iter_mut().zip(&*exponentials).zip(sums.iter_mut()) {
                let grad = *e * factor;
                *logit = S::narrow(grad);
                *sum = *sum + grad;
            }
            logits[target] = S::narrow(target_grad);
            sums[target] = sums[target] - scale;
            sum
        }
    };
    sum.ln() + (max - target_logit).to_f64()
}

macro_rules! row_element {
    ($element:ty, $accum:ty, $row:ident) => {
        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $row(
            logits: &mut [$element],
            bias: &[$accum],
            target: usize,
            gradient: Option<RowGradient<'_, $accum>>,
        ) -> f64 {
            row(logits, bias, target, gradient)
        }

        impl RowElement for $element {
            fn row(
                logits: &mut [Self],
                bias: &[$accum],
                target: usize,
                gradient: Option<RowGradient<'_, $accum>>,
            ) -> f64 {
                $row(logits, bias, target, gradient)
            }
        }
    };
}

row_element!(f32, f32, row_f32);
row_element!(f64, f64, row_f64);
row_element!(Bf16, f32, row_bf16);

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
            for (kind, accum, tolerance) in [
                (Kind::Double, Kind::Double, 1e-12f64),
                (Kind::Float, Kind::Float, 3e-5),
                // The logits are exact; storing the gradient rounds it to 8 bits.
                (Kind::BFloat16, Kind::Float, 0.5 / 256.0),
            ] {
                let logits = (Tensor::randn([rows, classes], options) * 5.0).to_kind(kind);
                let bias = Tensor::randn([classes], options).to_kind(accum);
                let leaf = logits.to_kind(Kind::Double).set_requires_grad(true);
                let with_bias = &leaf + bias.to_kind(Kind::Double);
                let loss = with_bias.cross_entropy_loss::<Tensor>(
                    &Tensor::from_slice(&targets), None, tch::Reduction::Sum, -100, 0.0);
                (&loss * 0.5).backward();
                let exact = loss.double_value(&[]);

                let value = cross_entropy(&logits, &bias, &targets, None).unwrap();
                let sums = Tensor::ones([classes], (accum, Device::Cpu));
                let gradient = Gradient { scale: 0.5, sums: &sums };
                let sum = cross_entropy(&logits, &bias, &targets, Some(gradient)).unwrap();
                let bound = tolerance.min(3e-5) * sum.max(1.0);
                prop_assert!((sum - exact).abs() <= bound && (value - exact).abs() <= bound);
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
            for class in [0, 5, 40] {
                let logits = Tensor::zeros([1, 41], (kind, Device::Cpu));
                let _ = logits.get(0).get(class).fill_(f64::NAN);
                assert!(cross_entropy(&logits, &bias, &[3], None).unwrap().is_nan());
            }
        }
    }

    #[test]
    fn other_kinds_are_rejected() {
        let zeros = Tensor::zeros([1, 4], (Kind::Half, Device::Cpu));
        assert!(cross_entropy(&zeros, &zeros.get(0), &[3], None).is_err());
    }
}
