//! Random numbers that need no saving: every draw of a run follows from its seed, a purpose and a
//! counter, so that a resumed run continues as if it had never stopped.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What random numbers are for; draws for one purpose never shift those for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights.
    Weights = 1,
    /// Dropout masks of a training step.
    Dropout = 2,
    /// The sequence length of a training step.
    Length = 3,
    /// Words drawn from a trained model.
    Generation = 4,
}

/// Which random numbers: those of draw number `counter` for `purpose` in the run seeded with `seed`.
///
/// They are the words of ChaCha8 under [`Stream::key`], counter and nonce from 0: word i is word i % 16
/// of block i / 16, so that a GPU makes any of them without those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// The run's seed.
    pub seed: u64,
    /// What they are for.
    pub purpose: Purpose,
    /// Which draw, as a training step's number.
    pub counter: u64,
}

impl Stream {
    /// The key of the generator.
    pub fn key(self) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&(self.purpose as u64).to_le_bytes());
        key[16..24].copy_from_slice(&self.counter.to_le_bytes());
        key
    }

    /// The generator, at the first word.
    pub fn generator(self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.key())
    }
}

/// The generator of draw number `counter` for `purpose` in the run seeded with `seed`.
pub fn generator(seed: u64, purpose: Purpose, counter: u64) -> ChaCha8Rng {
    Stream { seed, purpose, counter }.generator()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, RngExt};

    use super::*;

    #[test]
    fn draws_differ_by_seed_purpose_and_counter_and_by_nothing_else() {
        let first = |seed, purpose, counter| generator(seed, purpose, counter).next_u64();
        let reference = first(1, Purpose::Dropout, 2);
        assert_eq!(reference, first(1, Purpose::Dropout, 2));
        assert_ne!(reference, first(2, Purpose::Dropout, 2));
        assert_ne!(reference, first(1, Purpose::Length, 2));
        assert_ne!(reference, first(1, Purpose::Dropout, 3));
    }

    /// What `kernels/dropout_mask.cu` counts on: a draw is one word of the stream, its upper 24 bits as a
    /// fraction, and its place is its number.
    #[test]
    fn a_draw_is_the_word_of_its_number() {
        let stream = Stream { seed: 5, purpose: Purpose::Dropout, counter: 7 };
        let (mut draws, mut words) = (stream.generator(), stream.generator());
        for i in 0..1000u128 {
            assert_eq!(draws.get_word_pos(), i);
            let draw = draws.random::<f32>();
            let word = words.next_u32();
            assert_eq!(draw, (word >> 8) as f32 * 2f32.powi(-24), "{i}");
            let mut there = stream.generator();
            there.set_word_pos(i);
            assert_eq!(there.next_u32(), word, "{i}");
        }
    }
}
