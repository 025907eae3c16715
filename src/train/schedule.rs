//! The length of a training step, and its learning rate.

use rand::RngExt;
use rand_distr::{Distribution, Normal};

use super::recipe::Recipe;
use crate::random::{Purpose, generator};

/// Share of the steps whose mean is the full bptt; the others have half.
const FULL: f64 = 0.95;

/// Standard deviation of the length, in words.
const DEVIATION: f64 = 5.0;

/// No step is shorter.
const SHORTEST: usize = 5;

/// The length of step number `step` of a run: bptt with probability 0.95, else half of it; then a
/// normal with that mean and deviation 5, truncated to an integer, at least 5 (main.py of
/// awd-lstm-lm).
pub fn sequence_length(recipe: &Recipe, step: u64) -> usize {
    if recipe.fixed_bptt {
        return recipe.bptt;
    }
    let rng = &mut generator(recipe.seed, Purpose::Length, step);
    let bptt = recipe.bptt as f64;
    let mean = if rng.random::<f64>() < FULL { bptt } else { bptt / 2.0 };
    let drawn = match Normal::new(mean, DEVIATION) {
        Ok(normal) => normal.sample(rng),
        Err(_) => mean, // not for a finite mean
    };
    (drawn.max(0.0) as usize).max(SHORTEST)
}

/// A step's rate: the epoch's, scaled by the drawn length.
pub fn learning_rate(recipe: &Recipe, epoch: usize, length: usize) -> f64 {
    recipe.epoch_rate(epoch) * length as f64 / recipe.bptt as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_originals_mean_and_spread() {
        let recipe = Recipe::paper().bptt(140);
        let n = 4000;
        let lengths: Vec<f64> = (0..n).map(|step| sequence_length(&recipe, step) as f64).collect();
        let full: Vec<f64> = lengths.iter().copied().filter(|&l| l > 105.0).collect();
        let share = full.len() as f64 / n as f64;
        assert!((share - FULL).abs() < 0.012, "{share}");
        let mean = full.iter().sum::<f64>() / full.len() as f64;
        let variance = full.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / full.len() as f64;
        assert!((mean - 139.5).abs() < 0.4, "{mean}"); // truncation takes half a word
        assert!((variance.sqrt() - DEVIATION).abs() < 0.3, "{}", variance.sqrt());
    }

    #[test]
    fn lengths_have_a_floor_and_can_be_fixed() {
        let short = Recipe::paper().bptt(3);
        assert!((0..200).all(|step| sequence_length(&short, step) >= SHORTEST));
        let fixed = Recipe { fixed_bptt: true, ..Recipe::paper().bptt(70) };
        assert!((0..200).all(|step| sequence_length(&fixed, step) == 70));
        assert_eq!(learning_rate(&fixed, 1, 35), 0.5e-3);
    }
}
