//! The embedded language: a text made from a seed whose best possible perplexity is known.

mod advance;
mod grammar;
mod lexicon;
mod mixture;
mod offers;
mod sample;

#[cfg(test)]
mod figures;
#[cfg(test)]
mod tests;

use grammar::State;
use lexicon::{Fixed, Lexicon};
use mixture::Mixture;
use sample::WordId;

use crate::data::split::Split;
use crate::data::vocab::Vocab;

/// The sizes and the seed of the embedded language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SyntheticConfig {
    /// Picks the words and the text; the same seed gives the same corpus on every machine.
    pub seed: u64,
    /// Tokens to train on. As for all three, the text goes on to the end of its last paragraph,
    /// and has at least a few of them.
    pub train_tokens: usize,
    /// Tokens to validate on.
    pub valid_tokens: usize,
    /// Tokens to test on.
    pub test_tokens: usize,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self { seed: 103, train_tokens: 400_000, valid_tokens: 20_000, test_tokens: 20_000 }
    }
}

/// A text shorter than this would hardly be one.
const FEWEST_TOKENS: usize = 200;

/// What [`generate`] makes of one seed.
pub(super) struct Generated {
    pub(super) vocab: Vocab,
    pub(super) tokens: [Vec<u32>; 3],
    /// -ln p of each token given all before it, in nats.
    pub(super) surprisals: [Vec<f32>; 3],
}

/// Makes the three splits, each from a random stream of its own: the size of one leaves the
/// others as they are.
pub(super) fn generate(config: &SyntheticConfig) -> Generated {
    let lexicon = Lexicon::new(config.seed);
    let mut ids = Ids { vocab: Vocab::default(), of_word: vec![None; lexicon.len()] };
    let sizes = [config.train_tokens, config.valid_tokens, config.test_tokens];
    let mut tokens = [Vec::new(), Vec::new(), Vec::new()];
    let mut surprisals = [Vec::new(), Vec::new(), Vec::new()];
    for split in Split::ALL {
        let place = split as usize;
        let mut random = sample::generator(config.seed, 1 + place as u64);
        let fewest = sizes[place].max(FEWEST_TOKENS);
        let mut state = State::new();
        let mut next = Mixture::default();
        loop {
            offers::offer(&state, &lexicon, &mut next);
            let word = next.sample(&lexicon, &mut random);
            tokens[place].push(ids.of(word, &lexicon));
            surprisals[place].push(-next.probability(word, &lexicon).ln() as f32);
            state.advance(word, &lexicon);
            if word == Fixed::Eos.id() && tokens[place].len() >= fewest {
                break;
            }
        }
    }
    Generated { vocab: ids.vocab, tokens, surprisals }
}

/// Gives the lexicon's words their ids, in the order of first appearance.
struct Ids {
    vocab: Vocab,
    of_word: Vec<Option<u32>>,
}

impl Ids {
    fn of(&mut self, word: WordId, lexicon: &Lexicon) -> u32 {
        let known = &mut self.of_word[usize::from(word)];
        if known.is_none() {
            *known = self.vocab.intern(lexicon.word(word));
        }
        // A lexicon has far fewer words than there are ids.
        known.unwrap_or_default()
    }
}
