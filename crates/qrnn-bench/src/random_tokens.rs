//! Ids as WikiText-103's are, made in memory: its law of word frequencies, numbered in the order in
//! which words first appear.

use qrnn::data::Corpus;
use qrnn::{Error, Result};
use rand::distr::Distribution as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::Exp1;
use rand_distr::weighted::WeightedAliasIndex;

/// The rank at which the law grows steeper.
const BEND: f64 = 6000.0;

/// A word repeats one of so many before it with this probability, as words of a text do. The
/// frequencies stay the same, and a model finds something to learn.
const REPEATS: (usize, f64) = (50, 0.3);

/// Ids drawn by that law.
pub struct Ids {
    ranks: WeightedAliasIndex<f64>,
    /// The id of each rank.
    ids: Vec<u32>,
    random: ChaCha8Rng,
}

impl Ids {
    /// The word of rank r comes with a probability in proportion to 1 / (r + 2.7), from rank 6,000 on
    /// to its power of 1.7: with 267,735 types the rarest is then expected 2.9 times in a text of
    /// WikiText-103's length, whose rarest words occur 3 times, and the clusters' shares are about
    /// those of its training text.
    ///
    /// # Errors
    /// [`Error::Usage`] where there are no types.
    pub fn new(types: usize) -> Result<Self> {
        let weight = |rank: usize| {
            let place = rank as f64 + 2.7;
            let steeper: f64 = if place > BEND { (BEND / place).powf(0.7) } else { 1.0 };
            steeper / place
        };
        let weights: Vec<f64> = (0..types).map(weight).collect();
        let mut random = ChaCha8Rng::seed_from_u64(103);
        // In a text drawn word by word, the first of each type comes after an exponential time.
        let first = |weight: &f64| random.sample::<f64, _>(Exp1) / weight;
        let first: Vec<f64> = weights.iter().map(first).collect();
        let mut order: Vec<usize> = (0..types).collect();
        order.sort_by(|a, b| first[*a].total_cmp(&first[*b]));
        let mut ids = vec![0; types];
        for (id, rank) in order.into_iter().enumerate() {
            ids[rank] = id as u32;
        }
        let ranks = WeightedAliasIndex::new(weights).map_err(|error| {
            Error::usage(format!("--types {types}"), error.to_string(), "give at least one")
        })?;
        Ok(Self { ranks, ids, random })
    }

    /// The next words.
    pub fn take(&mut self, words: usize) -> Vec<u32> {
        let mut text: Vec<u32> = Vec::with_capacity(words);
        let (back, probability) = REPEATS;
        for at in 0..words {
            let repeated = at >= back && self.random.random::<f64>() < probability;
            text.push(match repeated {
                true => text[at - self.random.random_range(1..=back)],
                false => self.ids[self.ranks.sample(&mut self.random)],
            });
        }
        text
    }
}

/// A corpus of such ids: so many to train on, and to test on; as many to validate on as to test.
///
/// # Errors
/// As [`Ids::new`].
pub fn corpus(types: usize, train: usize, test: usize) -> Result<Corpus> {
    let mut ids = Ids::new(types)?;
    let tokens = [train, test, test].map(|words| ids.take(words));
    Corpus::from_ids("made ids", types, tokens)
}

/// Words of each cluster, the head first.
pub fn count_by_cluster(ids: &[u32], borders: &[usize]) -> Vec<usize> {
    let mut counts = vec![0; borders.len() + 1];
    for &id in ids {
        counts[borders.iter().filter(|&&border| id as usize >= border).count()] += 1;
    }
    counts
}

/// The share of each cluster, for people.
pub fn shares(ids: &[u32], borders: &[usize]) -> String {
    let share = |count| format!("{:.1} %", 100.0 * count as f64 / ids.len().max(1) as f64);
    count_by_cluster(ids, borders).into_iter().map(share).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// SPEED.md's estimate for WikiText-103 in its own numbering: 68, 23.2, 6.15 and 2.65 %.
    #[test]
    fn clusters_have_the_shares_of_wikitext_103() {
        let text = Ids::new(267_735).unwrap().take(1_000_000);
        let counts = count_by_cluster(&text, &[2800, 20_000, 76_000]);
        for (count, percent) in counts.iter().zip([68.0, 23.2, 6.15, 2.65]) {
            let ours = *count as f64 / 1e4;
            assert!((ours - percent).abs() < 1.0, "{counts:?}");
        }
        assert_eq!(counts.iter().sum::<usize>(), text.len());
        // A step of the entry: 40 columns of 300 words.
        let step = text.chunks(25_000).flat_map(|column| &column[..300]);
        let distinct = step.collect::<HashSet<_>>().len();
        println!("{distinct} different words in a step");
        assert!((3000..4000).contains(&distinct), "{distinct}");
    }

    /// A few hundred draws say what kind of order it is: the first words are the frequent ones, but
    /// not strictly so, as they would be sorted by frequency.
    #[test]
    fn ids_are_numbered_as_words_first_appear() {
        let ids = Ids::new(1000).unwrap().ids;
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1000);
        assert_ne!(ids, (0..1000).collect::<Vec<_>>());
        let mean = |ranks: std::ops::Range<usize>| {
            ids[ranks.clone()].iter().map(|id| f64::from(*id)).sum::<f64>() / ranks.len() as f64
        };
        assert!(mean(0..10) + 100.0 < mean(100..200) && mean(100..200) + 100.0 < mean(800..1000));
    }
}
