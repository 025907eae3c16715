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

/// The generator of draw number `counter` for `purpose` in the run seeded with `seed`.
pub fn generator(seed: u64, purpose: Purpose, counter: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    key[16..24].copy_from_slice(&counter.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

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
}
