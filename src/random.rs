//! Random numbers without saved state: every draw is a function of the run's seed, a purpose and a
//! counter, so a resumed run continues with the same numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The use of random numbers. Draws for one purpose do not affect those for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights.
    Weights = 1,
    /// Dropout masks of a training step.
    Dropout = 2,
    /// The sequence length of a training step.
    Length = 3,
    /// Tokens sampled from a trained model.
    Generation = 4,
}

/// Identifies a random stream: number `counter` for `purpose` in the run seeded with `seed`.
///
/// The stream is the output of ChaCha8 with [`Stream::key`], counter and nonce starting at 0. Its 32-bit
/// word i is word i % 16 of block i / 16, so a GPU computes any word without the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// The run's seed.
    pub seed: u64,
    /// The use of the numbers.
    pub purpose: Purpose,
    /// For example, the index of a training step.
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

    /// A generator at the start of the stream.
    pub fn generator(self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.key())
    }
}

/// The generator of [`Stream`] `counter` for `purpose` in the run seeded with `seed`.
pub fn generator(seed: u64, purpose: Purpose, counter: u64) -> ChaCha8Rng {
    Stream { seed, purpose, counter }.generator()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, RngExt};

    use super::*;

    #[test]
    fn streams_depend_on_seed_purpose_and_counter_alone() {
        let first = |seed, purpose, counter| generator(seed, purpose, counter).next_u64();
        let reference = first(1, Purpose::Dropout, 2);
        assert_eq!(reference, first(1, Purpose::Dropout, 2));
        assert_ne!(reference, first(2, Purpose::Dropout, 2));
        assert_ne!(reference, first(1, Purpose::Length, 2));
        assert_ne!(reference, first(1, Purpose::Dropout, 3));
    }

    /// `kernels/dropout_mask.cu` relies on this: draw i is the upper 24 bits of word i of the stream, as a
    /// fraction.
    #[test]
    fn draw_i_is_word_i_of_the_stream() {
        let stream = Stream { seed: 5, purpose: Purpose::Dropout, counter: 7 };
        let (mut draws, mut words) = (stream.generator(), stream.generator());
        for i in 0..1000u128 {
            assert_eq!(draws.get_word_pos(), i);
            let draw = draws.random::<f32>();
            let word = words.next_u32();
            assert_eq!(draw, (word >> 8) as f32 * 2f32.powi(-24), "{i}");
            let mut seeked = stream.generator();
            seeked.set_word_pos(i);
            assert_eq!(seeked.next_u32(), word, "{i}");
        }
    }
}
