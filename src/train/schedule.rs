//! Sequence length and learning rate of each training step.

use rand::RngExt;
use rand_distr::{Distribution, Normal};

use super::recipe::Recipe;
use crate::random::{Purpose, generator};

/// Probability that the mean length of a step is bptt; otherwise it is bptt / 2.
const FULL_LENGTH: f64 = 0.95;

/// Standard deviation of the length, in tokens.
const STANDARD_DEVIATION: f64 = 5.0;

/// Minimum length, in tokens.
const MIN_LENGTH: usize = 5;

/// Sequence length of step `step`, in tokens: a normal sample with standard deviation 5 around bptt (with
/// probability 0.95) or bptt / 2, truncated to an integer of at least 5 (main.py of awd-lstm-lm).
pub fn sequence_length(recipe: &Recipe, step: u64) -> usize {
    if recipe.fixed_bptt {
        return recipe.bptt;
    }
    let rng = &mut generator(recipe.seed, Purpose::Length, step);
    let bptt = recipe.bptt as f64;
    let mean = if rng.random::<f64>() < FULL_LENGTH { bptt } else { bptt / 2.0 };
    let length = match Normal::new(mean, STANDARD_DEVIATION) {
        Ok(normal) => normal.sample(rng),
        Err(_) => mean, // unreachable: the mean is finite
    };
    (length.max(0.0) as usize).max(MIN_LENGTH)
}

/// Learning rate of a step: that of the epoch times `length` / bptt (main.py of awd-lstm-lm).
pub fn learning_rate(recipe: &Recipe, epoch: usize, length: usize) -> f64 {
    recipe.epoch_rate(epoch) * length as f64 / recipe.bptt as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_mean_and_deviation_of_awd_lstm_lm() {
        let recipe = Recipe::paper().bptt(140);
        let n = 4000;
        let lengths: Vec<f64> = (0..n).map(|step| sequence_length(&recipe, step) as f64).collect();
        let full: Vec<f64> = lengths.iter().copied().filter(|&l| l > 105.0).collect();
        let share = full.len() as f64 / n as f64;
        assert!((share - FULL_LENGTH).abs() < 0.012, "{share}");
        let mean = full.iter().sum::<f64>() / full.len() as f64;
        let variance = full.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / full.len() as f64;
        assert!((mean - 139.5).abs() < 0.4, "{mean}"); // truncation lowers the mean by half a token
        assert!((variance.sqrt() - STANDARD_DEVIATION).abs() < 0.3, "{}", variance.sqrt());
    }

    #[test]
    fn lengths_have_a_minimum_and_can_be_fixed() {
        let short = Recipe::paper().bptt(3);
        assert!((0..200).all(|step| sequence_length(&short, step) >= MIN_LENGTH));
        let fixed = Recipe { fixed_bptt: true, ..Recipe::paper().bptt(70) };
        assert!((0..200).all(|step| sequence_length(&fixed, step) == 70));
        assert_eq!(learning_rate(&fixed, 1, 35), 0.5e-3);
    }
}
