//! How many zeros each tensor bears.

use tch::Tensor;

use super::plan::{Plan, TensorPlan};
use crate::data::{Corpus, Split};
use crate::evaluate::{EvalOptions, validate};
use crate::interrupt::Interrupt;
use crate::model::{QrnnLm, check_vocabulary};
use crate::progress::{Progress, Task, Unit};
use crate::{Error, Result};

/// Tokens of the validation text that each pruned model is evaluated on.
const TOKENS: usize = 16_384;

/// Batch columns of these evaluations, which only have to be comparable.
const COLUMNS: usize = 16;

/// Fractions of zeros at which each tensor is tried; between them, the loss is interpolated.
const TRIED: [f64; 8] = [0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];

/// The most zeros that a tensor gets.
const MOST: f64 = 0.95;

/// Zeros of each matrix such that together they are `fraction` of all weights of matrices, and pruning any one of them
/// alone costs the same loss on the validation text (as MIT-HAN-Lab's entry chooses them: arXiv 2005.07877, section 3).
///
/// # Errors
/// [`Error::Config`] if the fraction is not between 0 and 0.95; [`Error::Interrupted`]; those of an evaluation.
pub fn zeros_by_sensitivity(
    model: &QrnnLm,
    corpus: &Corpus,
    fraction: f64,
    interrupt: &Interrupt,
    progress: &mut dyn Progress,
) -> Result<Vec<(String, f64)>> {
    if !(0.0..=MOST).contains(&fraction) {
        return Err(Error::config(
            "sensitivity",
            fraction,
            format!("is not a fraction of zeros: at least 0 and at most {MOST}"),
            "give for example 0.6",
        ));
    }
    check_vocabulary(model, corpus)?;
    let interrupt = interrupt.during_call();
    let plans = Plan::new().of_model(model)?;
    let matrices: Vec<usize> =
        (0..plans.len()).filter(|&i| plans[i].name.ends_with(".weight")).collect();
    let work = (matrices.len() * TRIED.len() + 1) as u64;
    progress.start(&Task::new("measuring the sensitivity of each tensor", Unit::Rows, work));
    let dense = loss(model, corpus)?;
    let mut curves = vec![];
    for &i in &matrices {
        let mut curve = vec![(0.0, 0.0)];
        for zeros in TRIED {
            interrupt.check(|| "nothing was changed".to_owned())?;
            let cost = loss(&without(model, &plans, i, zeros)?, corpus)? - dense;
            // More zeros never count as cheaper: a curve that falls is noise.
            let least = curve.last().map_or(0.0, |&(_, cost)| cost);
            curve.push((zeros, cost.max(least)));
            progress.advance(1);
        }
        let elements: usize = plans[i].shape.iter().product();
        curves.push((elements as f64, curve));
    }
    progress.finish();
    // Losses depend on the number of threads in their last digits; a plan that is searched again to resume a run does not.
    let zeros =
        at_equal_cost(&curves, fraction).into_iter().map(|zeros| (zeros * 1e6).round() / 1e6);
    Ok(matrices.iter().map(|&i| plans[i].name.clone()).zip(zeros).collect())
}

fn loss(model: &QrnnLm, corpus: &Corpus) -> Result<f64> {
    let tokens = corpus.tokens(Split::Valid);
    let tokens = &tokens[..tokens.len().min(TOKENS)];
    let options = EvalOptions {
        batch: COLUMNS.min(tokens.len() / 2).max(1),
        ..EvalOptions::one_column(model.config().bptt)
    };
    Ok(validate(model, tokens, "validation", &options)?.loss)
}

/// The model with zeros in one tensor.
fn without(model: &QrnnLm, plans: &[TensorPlan], pruned: usize, zeros: f64) -> Result<QrnnLm> {
    let mut i = 0;
    model.with_parameters(None, |parameter| {
        i += 1;
        if i - 1 != pruned {
            return Ok(parameter.shallow_clone());
        }
        let _no_grad = tch::no_grad_guard();
        let kept = plans[pruned].kept(&super::compressed_lm::values(parameter)?, zeros);
        let kept = Tensor::f_from_slice(&kept)?.f_view(&parameter.size()[..])?;
        Ok(parameter.f_mul(&kept.f_to_device(parameter.device())?)?)
    })
}

/// Weights, and the cost by fraction of zeros, ascending.
type Curve = (f64, Vec<(f64, f64)>);

/// The zeros of each tensor at the one cost at which they are `fraction` of all weights, found by bisection.
fn at_equal_cost(curves: &[Curve], fraction: f64) -> Vec<f64> {
    let zeros_at = |cost: f64| -> Vec<f64> {
        curves.iter().map(|(_, curve)| most_zeros(curve, cost)).collect()
    };
    let share = |zeros: &[f64]| {
        let all: f64 = curves.iter().map(|(weights, _)| weights).sum();
        curves.iter().zip(zeros).map(|((weights, _), zeros)| weights * zeros).sum::<f64>() / all
    };
    let costs = curves.iter().filter_map(|(_, curve)| curve.last().map(|&(_, cost)| cost));
    let (mut low, mut high) = (0.0, costs.fold(0.0, f64::max));
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if share(&zeros_at(middle)) < fraction { low = middle } else { high = middle }
    }
    // What bisection leaves, flat pieces of the curves above all, is spread evenly.
    let mut zeros = zeros_at(high);
    let found = share(&zeros);
    if found > 0.0 {
        zeros.iter_mut().for_each(|zeros| *zeros = (*zeros * fraction / found).min(MOST));
    }
    zeros
}

/// The most zeros that cost no more than this.
fn most_zeros(curve: &[(f64, f64)], cost: f64) -> f64 {
    let mut most = 0.0;
    for pair in curve.windows(2) {
        let [(zeros, before), (next, after)] = [pair[0], pair[1]];
        if after <= cost {
            most = next;
        } else {
            return most
                .max(zeros + (next - zeros) * ((cost - before) / (after - before)).max(0.0));
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::model::LmConfig;
    use crate::progress::Silent;

    #[test]
    fn the_tensor_that_bears_more_gets_more() {
        let curve = |factor: f64| TRIED.map(|zeros| (zeros, factor * zeros * zeros)).to_vec();
        let with_zero = |factor| [vec![(0.0, 0.0)], curve(factor)].concat();
        let curves = [(100.0, with_zero(1.0)), (300.0, with_zero(4.0))];
        let zeros = at_equal_cost(&curves, 0.5);
        assert!((0.25 * zeros[0] + 0.75 * zeros[1] - 0.5).abs() < 1e-6, "{zeros:?}");
        // Equal costs: s² = 4 t², so s is 2 t.
        assert!((zeros[0] / zeros[1] - 2.0).abs() < 0.1, "{zeros:?}");
        assert_eq!(at_equal_cost(&curves, 0.0), [0.0, 0.0]);
    }

    #[test]
    fn every_matrix_gets_zeros_and_together_they_are_the_fraction() {
        tch::set_num_threads(1);
        let corpus = Corpus::synthetic();
        let model = QrnnLm::new(&LmConfig::paper(10, 20).layers(2), &corpus, Device::Cpu).unwrap();
        let search = |fraction| {
            zeros_by_sensitivity(&model, &corpus, fraction, &Interrupt::default(), &mut Silent)
        };
        let zeros = search(0.6).unwrap();
        let names: Vec<&str> = zeros.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["encoder.weight", "rnns.0.linear.weight", "rnns.1.linear.weight"]);
        let sizes = [corpus.vocab().len() * 10, 60 * 20, 30 * 20].map(|size| size as f64);
        let pruned: f64 = sizes.iter().zip(&zeros).map(|(size, (_, zeros))| size * zeros).sum();
        assert!((pruned / sizes.iter().sum::<f64>() - 0.6).abs() < 0.02, "{zeros:?}");
        assert!(search(0.99).unwrap_err().to_string().starts_with("sensitivity 0.99"));
    }
}
