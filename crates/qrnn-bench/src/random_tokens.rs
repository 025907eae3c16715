//! Random tokens like those of WikiText-103: its distribution of word frequencies, and ids in the
//! order of first appearance.

use qrnn::data::Corpus;
use qrnn::{Error, Result};
use rand::distr::Distribution as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::Exp1;
use rand_distr::weighted::WeightedAliasIndex;

/// The rank from which the distribution is steeper.
const BEND: f64 = 6000.0;

/// A token repeats one of this many preceding tokens with this probability, as in a text.
/// Frequencies stay the same, and a model has something to learn.
const REPEATS: (usize, f64) = (50, 0.3);

/// Samples tokens.
pub struct TokenSampler {
    ranks: WeightedAliasIndex<f64>,
    /// The id of each rank.
    ids: Vec<u32>,
    random: ChaCha8Rng,
}

impl TokenSampler {
    /// For a vocabulary of `types` words. The probability of rank r is proportional to 1 / (r +
    /// 2.7), and from rank 6,000 to its power of 1.7: with 267,735 types the rarest word is
    /// expected 2.9 times in a text of WikiText-103's length, whose rarest words occur 3 times, and
    /// the shares of the clusters are about those of its training text.
    pub fn new(types: usize) -> Result<Self> {
        let weight = |rank: usize| {
            let shifted = rank as f64 + 2.7;
            let steepness: f64 = if shifted > BEND { (BEND / shifted).powf(0.7) } else { 1.0 };
            steepness / shifted
        };
        let weights: Vec<f64> = (0..types).map(weight).collect();
        let mut random = ChaCha8Rng::seed_from_u64(103);
        // The first appearance of each type in a random text comes after an exponential time.
        let first = |weight: &f64| random.sample::<f64, _>(Exp1) / weight;
        let first: Vec<f64> = weights.iter().map(first).collect();
        let mut order: Vec<usize> = (0..types).collect();
        order.sort_by(|a, b| first[*a].total_cmp(&first[*b]));
        let mut ids = vec![0; types];
        for (id, rank) in order.into_iter().enumerate() {
            ids[rank] = id as u32;
        }
        let ranks = WeightedAliasIndex::new(weights).map_err(|error| {
            Error::config("--types", types, error.to_string(), "use at least one")
        })?;
        Ok(Self { ranks, ids, random })
    }

    /// The next `n` tokens.
    pub fn sample(&mut self, n: usize) -> Vec<u32> {
        let mut tokens: Vec<u32> = Vec::with_capacity(n);
        let (distance, probability) = REPEATS;
        for i in 0..n {
            let repeats = i >= distance && self.random.random::<f64>() < probability;
            tokens.push(if repeats {
                tokens[i - self.random.random_range(1..=distance)]
            } else {
                self.ids[self.ranks.sample(&mut self.random)]
            });
        }
        tokens
    }
}

/// A corpus of random tokens; `train` and `test` are numbers of tokens, and validation has as many as test.
pub fn corpus(types: usize, train: usize, test: usize) -> Result<Corpus> {
    let mut sampler = TokenSampler::new(types)?;
    let tokens = [train, test, test].map(|n| sampler.sample(n));
    Corpus::from_ids("random tokens", types, tokens)
}

/// Number of tokens in each cluster, the head first.
pub fn count_by_cluster(tokens: &[u32], borders: &[usize]) -> Vec<usize> {
    let mut counts = vec![0; borders.len() + 1];
    for &token in tokens {
        counts[borders.iter().filter(|&&border| token as usize >= border).count()] += 1;
    }
    counts
}

/// The share of each cluster in percent, as text.
pub fn shares(tokens: &[u32], borders: &[usize]) -> String {
    let share = |count| format!("{:.1} %", 100.0 * count as f64 / tokens.len().max(1) as f64);
    count_by_cluster(tokens, borders).into_iter().map(share).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The estimate for WikiText-103 and its ids: 68, 23.2, 6.15 and 2.65 %.
    #[test]
    fn clusters_have_the_shares_of_wikitext_103() {
        let tokens = TokenSampler::new(267_735).unwrap().sample(1_000_000);
        let counts = count_by_cluster(&tokens, &[2800, 20_000, 76_000]);
        for (count, percent) in counts.iter().zip([68.0, 23.2, 6.15, 2.65]) {
            let ours = *count as f64 / 1e4;
            assert!((ours - percent).abs() < 1.0, "{counts:?}");
        }
        assert_eq!(counts.iter().sum::<usize>(), tokens.len());
        // A step of the entry: batch size 40, 300 tokens.
        let step = tokens.chunks(25_000).flat_map(|column| &column[..300]);
        let distinct = step.collect::<HashSet<_>>().len();
        println!("{distinct} distinct tokens in a step");
        assert!((3000..4000).contains(&distinct), "{distinct}");
    }

    /// Frequent words tend to have small ids, but are not strictly sorted by frequency.
    #[test]
    fn ids_are_in_the_order_of_first_appearance() {
        let ids = TokenSampler::new(1000).unwrap().ids;
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1000);
        assert_ne!(ids, (0..1000).collect::<Vec<_>>());
        let mean = |ranks: std::ops::Range<usize>| {
            ids[ranks.clone()].iter().map(|id| f64::from(*id)).sum::<f64>() / ranks.len() as f64
        };
        assert!(mean(0..10) + 100.0 < mean(100..200) && mean(100..200) + 100.0 < mean(800..1000));
    }
}
