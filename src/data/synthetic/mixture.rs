//! The distribution of the next word.

use rand_chacha::ChaCha8Rng;

use super::lexicon::Lexicon;
use super::sample::{Source, WordId, pick, unit};

/// The distribution of the next word: a mixture of sources with unnormalized weights.
#[derive(Debug, Default)]
pub(super) struct Mixture {
    components: Vec<(f64, Source)>,
    total: f64,
}

impl Mixture {
    pub(super) fn clear(&mut self) {
        self.components.clear();
        self.total = 0.0;
    }

    /// Adds a source, unless its weight is 0.
    pub(super) fn add(&mut self, weight: f64, source: Source) {
        if weight > 0.0 {
            self.components.push((weight, source));
            self.total += weight;
        }
    }

    /// The probability of `word`, summed over all sources.
    pub(super) fn probability(&self, word: WordId, lexicon: &Lexicon) -> f64 {
        let probability_in = |source: Source| match source {
            Source::Word(only) => f64::from(u8::from(only == word)),
            Source::List(list) => lexicon.lists[list].probability(word),
        };
        self.components.iter().map(|&(weight, source)| weight * probability_in(source)).sum::<f64>()
            / self.total
    }

    pub(super) fn sample(&self, lexicon: &Lexicon, random: &mut ChaCha8Rng) -> WordId {
        let share = unit(random) * self.total;
        match self.components[pick(share, self.components.iter().map(|component| component.0))].1 {
            Source::Word(word) => word,
            Source::List(list) => lexicon.lists[list].sample(random),
        }
    }
}
