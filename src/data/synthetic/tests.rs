use super::sample::WordId;
use super::*;

mod figures;

/// Generates a text, and calls `f` with the distribution of each word and the sampled word.
fn for_each_word(steps: usize, mut f: impl FnMut(&Mixture, WordId, &Lexicon)) {
    let lexicon = Lexicon::new(SyntheticConfig::default().seed);
    let mut random = sample::generator(5, 9);
    let (mut state, mut next) = (State::new(), Mixture::default());
    for _ in 0..steps {
        offers::fill(&state, &lexicon, &mut next);
        let word = next.sample(&lexicon, &mut random);
        f(&next, word, &lexicon);
        state.advance(word, &lexicon);
    }
}

/// The distribution over all words.
fn distribution(next: &Mixture, lexicon: &Lexicon) -> Vec<f64> {
    (0..lexicon.words.len()).map(|word| next.probability(word as WordId, lexicon)).collect()
}

#[test]
fn probabilities_sum_to_one_in_every_state() {
    let mut count = 0;
    for_each_word(3000, |next, word, lexicon| {
        count += 1;
        if count % 7 == 0 {
            let sum: f64 = distribution(next, lexicon).iter().sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
        assert!(next.probability(word, lexicon) > 0.0);
    });
}

/// If words are sampled with the stated probabilities, their mean surprisal is the mean entropy.
#[test]
fn the_mean_surprisal_equals_the_entropy() {
    let (mut differences, mut squares, mut n) = (0.0, 0.0, 0.0);
    for_each_word(12_000, |next, word, lexicon| {
        let surprisal = -next.probability(word, lexicon).ln();
        let entropy: f64 =
            distribution(next, lexicon).into_iter().filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum();
        differences += surprisal - entropy;
        squares += (surprisal - entropy).powi(2);
        n += 1.0;
    });
    let mean = differences / n;
    let standard_error = (squares / n - mean * mean).sqrt() / f64::sqrt(n);
    assert!(mean.abs() < 4.0 * standard_error, "{mean} ± {standard_error}");
    assert!(standard_error < 0.02);
}
