//! The order of token ids: by first appearance in the text, or by frequency.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::threads::{in_threads, threads};
use crate::{Error, Result};

/// The order in which a corpus numbers its words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdOrder {
    /// By first appearance over train, then valid, then test, like awd-lstm-lm.
    #[default]
    FirstAppearance,
    /// By descending frequency in the training text; equally frequent words in order of first appearance.
    Frequency,
}

impl IdOrder {
    /// Whether ids are in order of first appearance; files do not state it.
    pub(crate) fn is_first_appearance(&self) -> bool {
        *self == Self::FirstAppearance
    }

    /// The order in a sentence.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::FirstAppearance => "in order of first appearance",
            Self::Frequency => "by frequency",
        }
    }
}

impl fmt::Display for IdOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstAppearance => "first-appearance",
            Self::Frequency => "frequency",
        })
    }
}

impl FromStr for IdOrder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::FirstAppearance, Self::Frequency]
            .into_iter()
            .find(|order| order.to_string() == text)
            .ok_or_else(|| {
                Error::config(
                    "ids",
                    text,
                    "there is no such order of token ids",
                    "use first-appearance or frequency",
                )
            })
    }
}

/// Old ids in the order of descending frequency in `train`; equally frequent words keep their order.
pub(super) fn by_frequency(train: &[u32], words: usize) -> Vec<u32> {
    let counts = in_threads(shares(train), |ids| {
        let mut counts = vec![0u32; words];
        for id in ids {
            counts[*id as usize] += 1;
        }
        counts
    });
    let count = |id: &u32| counts.iter().map(|counts| u64::from(counts[*id as usize])).sum::<u64>();
    let mut order: Vec<u32> = (0..words as u32).collect();
    order.sort_by_cached_key(|id| Reverse(count(id)));
    order
}

/// Replaces each id by its position in `order`.
pub(super) fn renumbered(ids: &[u32], order: &[u32]) -> Vec<u32> {
    let mut positions = vec![0u32; order.len()];
    for (position, id) in (0..).zip(order) {
        positions[*id as usize] = position;
    }
    let mut all = vec![0; ids.len()];
    let share = ids.len().div_ceil(threads()).max(1);
    let jobs = all.chunks_mut(share).zip(ids.chunks(share)).collect();
    in_threads(jobs, |(slots, ids): (&mut [u32], &[u32])| {
        for (slot, id) in slots.iter_mut().zip(ids) {
            *slot = positions[*id as usize];
        }
    });
    all
}

/// A share of the ids for each core.
fn shares(ids: &[u32]) -> Vec<&[u32]> {
    ids.chunks(ids.len().div_ceil(threads()).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::{Corpus, Split};

    #[test]
    fn the_order_is_that_of_counts_and_ties_keep_theirs() {
        assert_eq!(by_frequency(&[3, 1, 3, 0, 1, 3], 5), [3, 1, 0, 2, 4]);
        assert_eq!(renumbered(&[3, 1, 0, 2, 4, 3], &[3, 1, 0, 2, 4]), [0, 1, 2, 3, 4, 0]);
        assert_eq!(by_frequency(&[], 3), [0, 1, 2]);
        for order in [IdOrder::FirstAppearance, IdOrder::Frequency] {
            assert_eq!(order.to_string().parse::<IdOrder>().unwrap(), order);
            assert_eq!(serde_json::to_value(order).unwrap(), order.to_string());
        }
    }

    proptest! {
        #[test]
        fn the_words_stay_and_ids_follow_the_counts_of_the_training_text(
            train in prop::collection::vec(0..12u32, 1..200),
            valid in prop::collection::vec(0..20u32, 0..40),
            test in prop::collection::vec(0..20u32, 0..40),
            taken in 0..200usize,
        ) {
            let tokens = [train, valid, test];
            let old = Corpus::from_ids("ids", 20, tokens.clone()).unwrap().take_train(taken);
            let new = old.by_frequency();
            prop_assert_eq!((old.ids(), new.ids()), (IdOrder::FirstAppearance, IdOrder::Frequency));
            for split in Split::ALL {
                let words = |corpus: &Corpus| -> Vec<String> {
                    corpus.tokens(split).iter().map(|id| corpus.vocab().word(*id).into()).collect()
                };
                prop_assert_eq!(words(&old), words(&new));
            }
            let mut words: Vec<&str> = new.vocab().iter().collect();
            words.sort_unstable();
            let mut old_words: Vec<&str> = old.vocab().iter().collect();
            old_words.sort_unstable();
            prop_assert_eq!(words, old_words);
            // A pair (count, old id) for each new id: all training tokens count, not only those taken.
            let pairs = (0..20).map(|id| {
                let old_id = old.vocab().id(new.vocab().word(id)).unwrap();
                (Reverse(tokens[0].iter().filter(|other| **other == old_id).count()), old_id)
            });
            let pairs: Vec<_> = pairs.collect();
            prop_assert!(pairs.is_sorted(), "{pairs:?}");
            let again = new.by_frequency();
            prop_assert_eq!(again.tokens(Split::Test), new.tokens(Split::Test));
        }
    }
}
