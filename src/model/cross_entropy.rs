//! Softmax and cross entropy over rows of logits, value and gradient in one visit.

use std::sync::{Mutex, PoisonError};

use multiversion::multiversion;
use tch::{Device, Kind, Tensor};

use crate::libtorch::parallel_for;
use crate::pool::Real;
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
/// * `logits`: (rows, classes), contiguous, overwritten where a gradient is asked for;
/// * `targets`: one class a row.
///
/// Returns the sum of the losses, in nats.
///
/// # Errors
/// [`crate::Error::Torch`] where libtorch fails.
pub(super) fn cross_entropy(
    logits: &Tensor,
    targets: &[i64],
    gradient: Option<Gradient<'_>>,
) -> Result<f64> {
    let _stage = profile::stage("softmax");
    match (logits.device(), logits.kind()) {
        (Device::Cpu, Kind::Float) => on_cpu::<f32>(logits, targets, gradient),
        (Device::Cpu, Kind::Double) => on_cpu::<f64>(logits, targets, gradient),
        _ => by_torch(logits, targets, gradient),
    }
}

/// A [`Real`] whose row kernel is compiled for each instruction set.
trait RowReal: Real {
    fn row(logits: &mut [Self], target: usize, gradient: Option<(f64, &mut [Self])>) -> f64;
    fn to_f64(self) -> f64;
    fn from_f64(x: f64) -> Self;
}

fn on_cpu<R: RowReal>(
    logits: &Tensor,
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
    let classes = logits.size()[1] as usize;
    let values = Shared(logits.data_ptr().cast::<R>());
    // First row, loss and summed gradient of each task.
    let parts: Mutex<Vec<(usize, f64, Vec<R>)>> = Mutex::new(vec![]);
    let scale = gradient.map(|gradient| gradient.scale);
    parallel_for(targets.len(), GRAIN.div_ceil(classes.max(1)), |rows| {
        let (first, mut loss) = (rows.start, 0.0);
        let mut sums = vec![R::default(); if scale.is_some() { classes } else { 0 }];
        for i in rows {
            // SAFETY: row i lies inside the contiguous (rows, classes) tensor, which outlives the
            // call, and only this task touches it.
            let row = unsafe { std::slice::from_raw_parts_mut(values.at(i * classes), classes) };
            loss += R::row(row, targets[i] as usize, scale.map(|scale| (scale, &mut sums[..])));
        }
        parts.lock().unwrap_or_else(PoisonError::into_inner).push((first, loss, sums));
    })?;
    let mut parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
    // In the order of their rows, so that the result does not depend on who was first.
    parts.sort_by_key(|(first, ..)| *first);
    if let Some(gradient) = gradient {
        let mut sums = gradient.sums.shallow_clone();
        for (_, _, part) in &parts {
            // SAFETY: the vector outlives the tensor made of it, which has its kind and size.
            let part = unsafe {
                let bytes = part.as_ptr().cast();
                Tensor::f_from_blob(bytes, &[classes as i64], &[1], R::KIND, Device::Cpu)?
            };
            let _ = sums.f_add_(&part)?;
        }
    }
    Ok(parts.iter().map(|(_, loss, _)| loss).sum())
}

#[inline(always)]
fn row<R: RowReal + PartialOrd>(
    logits: &mut [R],
    target: usize,
    gradient: Option<(f64, &mut [R])>,
) -> f64 {
    // Maximum and sum over lanes. A NaN anywhere makes the sum, and so the loss, NaN.
    let mut top = [logits[0]; LANES];
    let mut chunks = logits.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            top[lane] = if chunk[lane] > top[lane] { chunk[lane] } else { top[lane] };
        }
    }
    for &value in chunks.remainder() {
        top[0] = if value > top[0] { value } else { top[0] };
    }
    let top = top.into_iter().fold(top[0], |a, b| if b > a { b } else { a });

    let at_target = logits[target];
    let mut sum = 0.0f64;
    for block in logits.chunks_mut(BLOCK) {
        let mut lanes = [R::default(); LANES];
        let mut chunks = block.chunks_exact_mut(LANES);
        for chunk in &mut chunks {
            for lane in 0..LANES {
                let e = Real::exp(chunk[lane] - top);
                chunk[lane] = e;
                lanes[lane] = lanes[lane] + e;
            }
        }
        for value in chunks.into_remainder() {
            *value = Real::exp(*value - top);
            lanes[0] = lanes[0] + *value;
        }
        for lane in lanes {
            sum += lane.to_f64();
        }
    }
    if let Some((scale, sums)) = gradient {
        let factor = R::from_f64(scale / sum);
        for (value, sum) in logits.iter_mut().zip(sums.iter_mut()) {
            *value = *value * factor;
            *sum = *sum + *value;
        }
        logits[target] = logits[target] - R::from_f64(scale);
        sums[target] = sums[target] - R::from_f64(scale);
    }
    sum.ln() + (top - at_target).to_f64()
}

macro_rules! row_real {
    ($real:ty, $row:ident) => {
        #[multiversion(targets(
            "x86_64+avx512f+avx512dq+avx512bw+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $row(logits: &mut [$real], target: usize, gradient: Option<(f64, &mut [$real])>) -> f64 {
            row(logits, target, gradient)
        }

        impl RowReal for $real {
            fn row(
                logits: &mut [Self],
                target: usize,
                gradient: Option<(f64, &mut [Self])>,
            ) -> f64 {
                $row(logits, target, gradient)
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as Self
            }
        }
    };
}

row_real!(f32, row_f32);
row_real!(f64, row_f64);

/// The same with tensor operations, for the devices that have no kernel of ours.
fn by_torch(logits: &Tensor, targets: &[i64], gradient: Option<Gradient<'_>>) -> Result<f64> {
    let index = Tensor::f_from_slice(targets)?.f_to_device(logits.device())?.f_unsqueeze(1)?;
    let mut logits = logits.shallow_clone();
    let log_softmax = logits.f_log_softmax(-1, Kind::Float)?;
    let losses = log_softmax.f_gather(1, &index, false)?.f_neg()?.f_squeeze_dim(1)?;
    if let Some(Gradient { scale, sums }) = gradient {
        let ones = Tensor::f_full([targets.len() as i64, 1], -1.0, (Kind::Float, logits.device()))?;
        let gradient = log_softmax.f_exp()?.f_scatter_add(1, &index, &ones)?;
        logits.f_copy_(&gradient.f_mul_scalar(scale)?)?;
        let mut sums = sums.shallow_clone();
        let _ = sums.f_add_(&logits.f_sum_dim_intlist(0, false, None::<Kind>)?)?;
    }
    Ok(losses.f_sum(Kind::Double)?.f_double_value(&[])?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: &Tensor, b: &Tensor, tolerance: f64) -> bool {
        (a - b).abs().max().double_value(&[]) <= tolerance
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn equals_torch_in_value_and_gradient(
            rows in 1..9i64, classes in prop_oneof![1..50i64, 4090..4120i64], seed: u32,
        ) {
            tch::manual_seed(i64::from(seed));
            let exact = Tensor::randn([rows, classes], (Kind::Double, Device::Cpu)) * 5.0;
            let targets: Vec<i64> = (0..rows).map(|i| (i * 7919) % classes).collect();
            let leaf = exact.copy().set_requires_grad(true);
            let loss = leaf.cross_entropy_loss::<Tensor>(
                &Tensor::from_slice(&targets), None, tch::Reduction::Sum, -100, 0.0);
            (&loss * 0.5).backward();
            for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 3e-5)] {
                let logits = exact.to_kind(kind).copy();
                let sums = Tensor::ones([classes], (kind, Device::Cpu));
                let gradient = Gradient { scale: 0.5, sums: &sums };
                let sum = cross_entropy(&logits, &targets, Some(gradient)).unwrap();
                let by_class = leaf.grad().sum_dim_intlist(0, false, None::<Kind>) + 1.0;
                prop_assert!(close(&sums.to_kind(Kind::Double), &by_class, 10.0 * tolerance));
                prop_assert!((sum - loss.double_value(&[])).abs() <= tolerance * sum.max(1.0));
                prop_assert!(close(&logits.to_kind(Kind::Double), &leaf.grad(), tolerance));
            }
            let (a, b) = (exact.to_kind(Kind::Float).copy(), exact.to_kind(Kind::Float).copy());
            let [ours, plain] = [(); 2].map(|()| Tensor::zeros([classes], (Kind::Float, Device::Cpu)));
            let gradient = |sums| Some(Gradient { scale: 0.5, sums });
            let x = cross_entropy(&a, &targets, gradient(&ours)).unwrap();
            let y = by_torch(&b, &targets, gradient(&plain)).unwrap();
            prop_assert!((x - y).abs() < 1e-4 * x.max(1.0));
            prop_assert!(close(&ours, &plain, 1e-5));
            prop_assert!(close(&a, &b, 1e-5));
        }
    }

    #[test]
    fn a_nan_logit_gives_a_nan_loss() {
        for place in [0, 5, 40] {
            let logits = Tensor::zeros([1, 41], (Kind::Float, Device::Cpu));
            let _ = logits.get(0).get(place).fill_(f64::NAN);
            assert!(cross_entropy(&logits, &[3], None).unwrap().is_nan());
        }
    }
}
