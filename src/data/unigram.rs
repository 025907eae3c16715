//! The unigram baseline.

/// Perplexity on `text` of the unigram model of `train` with add-one smoothing, for a vocabulary of
/// `words` words. 1 for an empty text.
pub(super) fn perplexity(train: &[u32], text: &[u32], words: usize) -> f64 {
    let mut counts = vec![1u64; words];
    for id in train {
        counts[*id as usize] += 1;
    }
    let total = (train.len() + words) as f64;
    let nats: f64 = text.iter().map(|id| (total / counts[*id as usize] as f64).ln()).sum();
    (nats / text.len().max(1) as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_perplexity_is_that_of_add_one_smoothing() {
        // p = (2 + 1, 1 + 1, 0 + 1) / 6 over the text 0, 1, 2.
        let expected = (3.0f64 / 6.0 * (2.0 / 6.0) * (1.0 / 6.0)).powf(-1.0 / 3.0);
        assert!((perplexity(&[0, 1, 0], &[0, 1, 2], 3) - expected).abs() < 1e-12);
        assert_eq!(perplexity(&[], &[], 3), 1.0);
    }
}
