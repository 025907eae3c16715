//! The distribution of the next word.

use rand_chacha::ChaCha8Rng;

use super::lexicon::Lexicon;
use super::sample::{Source, WordId, pick, unit};

/// The distribution of the next word: sources with weights, which need not sum to one.
#[derive(Debug, Default)]
pub(super) struct Mixture {
    parts: Vec<(f64, Source)>,
    total: f64,
}

impl Mixture {
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.total = 0.0;
    }

    /// Adds a source; without weight it is left out.
    pub(super) fn offer(&mut self, weight: f64, source: Source) {
        if weight > 0.0 {
            self.parts.push((weight, source));
            self.total += weight;
        }
    }

    /// The probability of `word`, summed over all sources that could give it.
    pub(super) fn probability(&self, word: WordId, lexicon: &Lexicon) -> f64 {
        let from = |source: Source| match source {
            Source::Word(only) => f64::from(u8::from(only == word)),
            Source::List(list) => lexicon.listed(list).probability(word),
        };
        self.parts.iter().map(|&(weight, source)| weight * from(source)).sum::<f64>() / self.total
    }

    pub(super) fn sample(&self, lexicon: &Lexicon, random: &mut ChaCha8Rng) -> WordId {
        let share = unit(random) * self.total;
        match self.parts[pick(share, self.parts.iter().map(|part| part.0))].1 {
            Source::Word(word) => word,
            Source::List(list) => lexicon.listed(list).sample(random),
        }
    }
}
