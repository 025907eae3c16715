//! The embedded synthetic language: text generated from a seed, with a known optimal perplexity.

mod advance;
mod grammar;
mod lexicon;
mod mixture;
mod offers;
mod sample;

#[cfg(test)]
mod tests;

use grammar::State;
use lexicon::{Fixed, Lexicon};
use mixture::Mixture;
use sample::WordId;

use crate::data::split::Split;
use crate::data::vocab::Vocab;

/// Seed and sizes of the synthetic corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SyntheticConfig {
    /// Determines the words and the text. The same seed gives the same corpus on every machine.
    pub seed: u64,
    /// Minimum number of training tokens. Each split continues to the end of its last paragraph and has at
    /// least 200 tokens.
    pub train_tokens: usize,
    /// Minimum number of validation tokens.
    pub valid_tokens: usize,
    /// Minimum number of test tokens.
    pub test_tokens: usize,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { seed: 103, train_tokens: 400_000, valid_tokens: 20_000, test_tokens: 20_000 }
    }
}

/// Minimum tokens of a split.
const MIN_TOKENS: usize = 200;

/// The corpus of one seed.
pub(super) struct Generated {
    pub(super) vocab: Vocab,
    pub(super) tokens: [Vec<u32>; 3],
    /// -ln p of each token given all before it, in nats.
    pub(super) surprisals: [Vec<f32>; 3],
}

/// Generates the three splits. Each has its own random stream, so its size does not affect the others.
pub(super) fn generate(config: &SyntheticConfig) -> Generated {
    let lexicon = Lexicon::new(config.seed);
    let mut ids = Ids { vocab: Vocab::default(), of_word: vec![None; lexicon.len()] };
    let sizes = [config.train_tokens, config.valid_tokens, config.test_tokens];
    let mut tokens = [Vec::new(), Vec::new(), Vec::new()];
    let mut surprisals = [Vec::new(), Vec::new(), Vec::new()];
    for split in Split::ALL {
        let index = split as usize;
        let mut random = sample::generator(config.seed, 1 + index as u64);
        let min_tokens = sizes[index].max(MIN_TOKENS);
        let mut state = State::new();
        let mut next = Mixture::default();
        loop {
            offers::fill(&state, &lexicon, &mut next);
            let word = next.sample(&lexicon, &mut random);
            tokens[index].push(ids.of(word, &lexicon));
            surprisals[index].push(-next.probability(word, &lexicon).ln() as f32);
            state.advance(word, &lexicon);
            if word == Fixed::Eos.id() && tokens[index].len() >= min_tokens {
                break;
            }
        }
    }
    Generated { vocab: ids.vocab, tokens, surprisals }
}

/// Assigns token ids to the words of the lexicon, in order of first appearance.
struct Ids {
    vocab: Vocab,
    of_word: Vec<Option<u32>>,
}

impl Ids {
    fn of(&mut self, word: WordId, lexicon: &Lexicon) -> u32 {
        let id = &mut self.of_word[usize::from(word)];
        if id.is_none() {
            *id = self.vocab.intern(lexicon.word(word));
        }
        // A lexicon has fewer words than there are ids, so the default is never used.
        id.unwrap_or_default()
    }
}
