use super::*;

/// Walks through a text, and shows each state with the distribution of the word after it and the
/// word that came.
fn walk(steps: usize, mut see: impl FnMut(&Mixture, WordId, &Lexicon)) {
    let lexicon = Lexicon::new(SyntheticConfig::default().seed);
    let mut random = sample::generator(5, 9);
    let (mut state, mut next) = (State::new(), Mixture::default());
    for _ in 0..steps {
        offers::offer(&state, &lexicon, &mut next);
        let word = next.sample(&lexicon, &mut random);
        see(&next, word, &lexicon);
        state.advance(word, &lexicon);
    }
}

/// The distribution over all words.
fn distribution(next: &Mixture, lexicon: &Lexicon) -> Vec<f64> {
    (0..lexicon.len()).map(|word| next.probability(word as WordId, lexicon)).collect()
}

#[test]
fn probabilities_of_all_words_add_up_to_one_everywhere() {
    let mut seen = 0;
    walk(3000, |next, word, lexicon| {
        seen += 1;
        if seen % 7 == 0 {
            let sum: f64 = distribution(next, lexicon).iter().sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
        assert!(next.probability(word, lexicon) > 0.0);
    });
}

/// If the words really come with the probabilities that the generator names, what it pays for them
/// is on average the entropy of those distributions.
#[test]
fn the_text_costs_its_entropy() {
    let (mut differences, mut squares, mut n) = (0.0, 0.0, 0.0);
    walk(12_000, |next, word, lexicon| {
        let paid = -next.probability(word, lexicon).ln();
        let entropy: f64 =
            distribution(next, lexicon).into_iter().filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum();
        differences += paid - entropy;
        squares += (paid - entropy).powi(2);
        n += 1.0;
    });
    let mean = differences / n;
    let standard_error = (squares / n - mean * mean).sqrt() / f64::sqrt(n);
    assert!(mean.abs() < 4.0 * standard_error, "{mean} ± {standard_error}");
    assert!(standard_error < 0.02);
}
