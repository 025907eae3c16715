//! Sampling with known probabilities. It uses only the bits of ChaCha and basic arithmetic, so the text is
//! the same on every machine.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The index of a word in the lexicon (not its id in a [`crate::data::Vocab`]).
pub(super) type WordId = u16;

/// The index of a list in the lexicon.
pub(super) type ListId = usize;

/// The generator of a random stream for this seed.
pub(super) fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&stream.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A uniform number in [0, 1) with 53 random bits.
pub(super) fn unit(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A uniform integer below `bound`.
pub(super) fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    (unit(random) * bound as f64) as usize
}

/// Consecutive words of the lexicon with a Zipf law: the k-th, counted from 0, has weight 1 / (k + 4).
#[derive(Debug)]
pub(super) struct List {
    start: WordId,
    probabilities: Vec<f64>,
}

impl List {
    pub(super) fn zipf(start: WordId, count: usize) -> Self {
        let weight = |rank: usize| 1.0 / (rank as f64 + 4.0);
        let total: f64 = (0..count).map(weight).sum();
        Self { start, probabilities: (0..count).map(|rank| weight(rank) / total).collect() }
    }

    pub(super) fn probability(&self, word: WordId) -> f64 {
        let rank = usize::from(word.wrapping_sub(self.start));
        self.probabilities.get(rank).copied().unwrap_or(0.0)
    }

    pub(super) fn sample(&self, random: &mut ChaCha8Rng) -> WordId {
        let rank = pick(unit(random), self.probabilities.iter().copied());
        self.start + rank as WordId
    }
}

/// A single word, or a list that a word is sampled from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Word(WordId),
    List(ListId),
}

/// The first index at which the cumulative sum of `shares` exceeds `point`, or the last index in case of
/// rounding errors.
pub(super) fn pick(mut point: f64, shares: impl Iterator<Item = f64>) -> usize {
    let mut last = 0;
    for (index, share) in shares.enumerate() {
        last = index;
        if point < share {
            break;
        }
        point -= share;
    }
    last
}
