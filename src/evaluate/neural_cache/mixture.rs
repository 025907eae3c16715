//! The mixture of the model's and the cache's probability of a target.
//!
//! All functions take the advantage of the cache, log p_cache - log p_model, in nats: −∞ if the cache does not
//! hold the target.

/// From this advantage on, the cache's probability is the sum's larger part by far.
const LARGE: f64 = 30.0;

/// The largest advantage whose exponential is finite.
const MAX: f64 = 700.0;

/// The largest λ that is searched.
const MAX_LAMBDA: f64 = 0.999;

/// How far λ is searched.
const PRECISION: f64 = 1e-12;

/// How much the mixture lowers the loss of a target: log((1 - λ) p_model + λ p_cache) - log p_model, in nats.
pub(super) fn gain(advantage: f64, lambda: f64) -> f64 {
    if lambda == 0.0 {
        0.0
    } else if advantage < LARGE {
        (lambda * advantage.exp_m1()).ln_1p()
    } else {
        lambda.ln() + advantage + ((1.0 - lambda) / lambda * (-advantage).exp()).ln_1p()
    }
}

/// The λ with the largest sum of [`gain`]s, by bisection: the sum is concave in λ, so that its derivative
/// falls.
pub(super) fn best_lambda(advantages: &[f64]) -> f64 {
    // Not `min`, which drops a NaN.
    let limited = |advantage: f64| if advantage > MAX { MAX } else { advantage };
    let ratios: Vec<f64> =
        advantages.iter().map(|advantage| limited(*advantage).exp_m1()).collect();
    let derivative =
        |lambda: f64| -> f64 { ratios.iter().map(|ratio| ratio / (1.0 + lambda * ratio)).sum() };
    let (mut low, mut high) = (0.0, MAX_LAMBDA);
    // Also where the derivative is NaN.
    if derivative(low).partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
        return 0.0;
    }
    while high - low > PRECISION {
        let middle = (low + high) / 2.0;
        if derivative(middle) > 0.0 { low = middle } else { high = middle }
    }
    if high == MAX_LAMBDA { high } else { low }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(advantages: &[f64], lambda: f64) -> f64 {
        advantages.iter().map(|advantage| gain(*advantage, lambda)).sum()
    }

    proptest! {
        #[test]
        fn the_gain_is_that_of_the_probabilities(p in 1e-9..1.0f64, q in 0.0..1.0f64, lambda in 0.0..0.99f64) {
            let expected = ((1.0 - lambda) * p + lambda * q).ln() - p.ln();
            prop_assert!((gain(q.ln() - p.ln(), lambda) - expected).abs() < 1e-12);
        }

        #[test]
        fn no_other_lambda_is_better(
            advantages in prop::collection::vec(prop_oneof![Just(f64::NEG_INFINITY), -5.0..40.0f64], 1..20),
        ) {
            let best = best_lambda(&advantages);
            let at_best = total(&advantages, best);
            prop_assert!((0.0..1.0).contains(&best));
            for step in 0..=100 {
                let lambda = MAX_LAMBDA * f64::from(step) / 100.0;
                prop_assert!(total(&advantages, lambda) <= at_best + 1e-9, "{lambda} {best}");
            }
        }
    }

    #[test]
    fn extreme_advantages_are_finite() {
        assert_eq!(gain(f64::NEG_INFINITY, 0.25), 0.75f64.ln());
        assert!((gain(2000.0, 0.5) - (2000.0 + 0.5f64.ln())).abs() < 1e-9);
        assert_eq!((gain(2000.0, 0.0), gain(f64::NEG_INFINITY, 0.0)), (0.0, 0.0));
        assert!(gain(f64::NAN, 0.5).is_nan() && best_lambda(&[f64::NAN]) == 0.0);
        assert_eq!(best_lambda(&[f64::NEG_INFINITY; 3]), 0.0);
        assert!(best_lambda(&[2000.0]) > 0.998);
    }
}
