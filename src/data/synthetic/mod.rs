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
#[derive(Default)]
pub(super) struct Generated {
    pub(super) vocab: Vocab,
    pub(super) tokens: [Vec<u32>; 3],
    /// -ln p of each token given all before it, in nats.
    pub(super) surprisals: [Vec<f32>; 3],
}

/// Generates the three splits. Each has its own random stream, so its size does not affect the others.
pub(super) fn generate(config: &SyntheticConfig) -> Generated {
    let lexicon = Lexicon::new(config.seed);
    let mut generated = Generated::default();
    let sizes = [config.train_tokens, config.valid_tokens, config.test_tokens];
    for (split, size) in sizes.into_iter().enumerate() {
        let (tokens, surprisals) = (&mut generated.tokens[split], &mut generated.surprisals[split]);
        let mut random = sample::generator(config.seed, 1 + split as u64);
        let mut state = State::new();
        let mut next = Mixture::default();
        loop {
            offers::fill(&state, &lexicon, &mut next);
            let word = next.sample(&lexicon, &mut random);
            // A lexicon has fewer words than there are ids, so the default is never used.
            tokens.push(
                generated.vocab.intern(&lexicon.words[usize::from(word)]).unwrap_or_default(),
            );
            surprisals.push(-next.probability(word, &lexicon).ln() as f32);
            state.advance(word, &lexicon);
            if word == Fixed::Eos.id() && tokens.len() >= size.max(MIN_TOKENS) {
                break;
            }
        }
    }
    generated
}
