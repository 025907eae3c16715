//! Vocabularies.

use std::sync::OnceLock;

use hashbrown::HashTable;
use twox_hash::XxHash3_64;

use super::words::words;
use crate::{Error, Result};

/// The words of a corpus. Ids are assigned in order of first appearance, over train, then valid, then
/// test, unless [`crate::data::Corpus::by_frequency`] has changed them.
#[derive(Clone, Default)]
pub struct Vocab {
    /// All words, concatenated.
    text: String,
    /// The end of each word in `text`, in bytes.
    ends: Vec<u32>,
    /// Ids by word; built on the first lookup, which training never needs.
    index: OnceLock<HashTable<u32>>,
}

/// Hashes without a random seed. The stock evcxr kernel links a copy of hashbrown's seed into each cell,
/// so a cell would not find the words that another has inserted.
fn hash_of(word: &str) -> u64 {
    XxHash3_64::oneshot(word.as_bytes())
}

impl Vocab {
    /// A vocabulary of the concatenated words and their ends; `None` unless the ends ascend, lie on
    /// character boundaries, and the last one is the length of `text`.
    pub(super) fn from_parts(text: String, ends: Vec<u32>) -> Option<Self> {
        let ordered = ends.is_sorted() && ends.last().is_none_or(|end| *end as usize == text.len());
        let on_boundaries = ends.iter().all(|end| text.is_char_boundary(*end as usize));
        (ordered && on_boundaries).then(|| Self { text, ends, ..Self::default() })
    }

    /// Parses the result of [`Vocab::joined`]; `None` if two words are equal or there are more words
    /// than ids.
    pub(crate) fn from_joined(joined: &str) -> Option<Self> {
        let mut vocab = Self::default();
        for (id, word) in (0..).zip(joined.split(' ').filter(|word| !word.is_empty())) {
            if vocab.intern(word)? != id {
                return None;
            }
        }
        Some(vocab)
    }

    /// The same words with other ids: `order` has the old id of each new one.
    pub(super) fn renumbered(&self, order: &[u32]) -> Self {
        let mut text = String::with_capacity(self.text.len());
        let mut ends = Vec::with_capacity(order.len());
        for id in order {
            text.push_str(self.word(*id));
            ends.push(text.len() as u32); // at most the length of the old text
        }
        Self { text, ends, ..Self::default() }
    }

    /// The words in the order of their ids, separated by spaces.
    pub(crate) fn joined(&self) -> String {
        self.iter().collect::<Vec<_>>().join(" ")
    }

    /// An XXH3 checksum of all words and their order.
    pub fn checksum(&self) -> u64 {
        let ends = super::checksum::ids(&self.ends).0;
        super::checksum::bytes(self.text.as_bytes()) ^ ends.rotate_left(32)
    }

    /// The first id whose word differs or is missing in one vocabulary; `None` if they are equal.
    pub(crate) fn first_difference(&self, other: &Self) -> Option<u32> {
        if self.text == other.text && self.ends == other.ends {
            return None;
        }
        let common = self.iter().zip(other.iter()).take_while(|(a, b)| a == b);
        Some(common.count() as u32)
    }

    /// All words concatenated, and the end of each in bytes.
    pub(super) fn parts(&self) -> (&str, &[u32]) {
        (&self.text, &self.ends)
    }

    /// Number of words, including `<eos>`.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the vocabulary is empty; never true for a [`crate::data::Corpus`].
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The word with this id.
    ///
    /// # Panics
    /// If the vocabulary has no such id.
    pub fn word(&self, id: u32) -> &str {
        word(&self.text, &self.ends, id)
    }

    /// The id of a word, or `None` if the word is unknown.
    pub fn id(&self, word: &str) -> Option<u32> {
        let index = self.index.get_or_init(|| self.build_index());
        index.find(hash_of(word), |id| self.word(*id) == word).copied()
    }

    /// Tokenizes words separated by white space.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming the first word that is not in the vocabulary.
    pub fn ids(&self, text: &str) -> Result<Vec<i64>> {
        let id = |word: &str| {
            self.id(word).map(i64::from).ok_or_else(|| {
                Error::mismatch(
                    format!("the word '{word}'"),
                    format!("is not in the model's vocabulary of {} words", self.len()),
                    "use words as written in the training text (lower case, <unk> for rare words)",
                )
            })
        };
        words(text).map(id).collect()
    }

    /// All words in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|id| self.word(id as u32))
    }

    /// Returns the id of a word, and adds the word if it is new; `None` when the ids, or the 4 GiB for
    /// the concatenated words, are exhausted.
    pub(super) fn intern(&mut self, new: &str) -> Option<u32> {
        if self.index.get().is_none() {
            let _ = self.index.set(self.build_index());
        }
        let Self { text, ends, index } = self;
        let hash = hash_of(new);
        let index = index.get_mut()?;
        if let Some(id) = index.find(hash, |id| word(text, ends, *id) == new) {
            return Some(*id);
        }
        let id = u32::try_from(ends.len()).ok()?;
        let end = u32::try_from(text.len() + new.len()).ok()?;
        text.push_str(new);
        ends.push(end);
        index.insert_unique(hash, id, |id| hash_of(word(text, ends, *id)));
        Some(id)
    }

    fn build_index(&self) -> HashTable<u32> {
        let hash = |id: &u32| hash_of(self.word(*id));
        let mut index = HashTable::with_capacity(self.len());
        for id in 0..self.len() as u32 {
            index.insert_unique(hash(&id), id, hash);
        }
        index
    }
}

fn word<'a>(text: &'a str, ends: &[u32], id: u32) -> &'a str {
    let end = ends[id as usize];
    let start = id.checked_sub(1).map_or(0, |previous| ends[previous as usize]);
    &text[start as usize..end as usize]
}

impl std::fmt::Debug for Vocab {
    /// Prints the size only: a panic message should not list 267,735 words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocab").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_first_appearance_and_map_back_to_the_words() {
        let mut vocab = Vocab::default();
        let ids: Vec<_> = ["b", "a", "b", "cé"].iter().map(|word| vocab.intern(word)).collect();
        assert_eq!(ids, [Some(0), Some(1), Some(0), Some(2)]);
        assert_eq!(vocab.iter().collect::<Vec<_>>(), ["b", "a", "cé"]);
        assert_eq!(vocab.word(2), "cé");
        assert_eq!(vocab.id("a"), Some(1));
        assert_eq!(vocab.id("d"), None);
        assert_eq!(format!("{vocab:?}"), "Vocab { len: 3, .. }");
    }

    #[test]
    fn the_checksum_depends_on_the_words_and_their_order() {
        let [one, same, other, cut] = ["b a <eos> c", "b a <eos> c", "a b <eos> c", "ba <eos> c"]
            .map(|joined| Vocab::from_joined(joined).unwrap());
        assert_eq!(one.joined(), "b a <eos> c");
        assert_eq!((one.checksum(), one.first_difference(&same)), (same.checksum(), None));
        assert_ne!(one.checksum(), other.checksum());
        assert_ne!(one.checksum(), cut.checksum());
        assert_eq!(one.first_difference(&other), Some(0));
        let longer = Vocab::from_joined("b a <eos> c d").unwrap();
        assert_eq!(one.first_difference(&longer), Some(4));
        assert!(Vocab::from_joined("a b a").is_none());
    }

    #[test]
    fn a_vocabulary_is_rebuilt_from_its_parts_and_invalid_parts_are_rejected() {
        let mut vocab = Vocab::default();
        for word in ["b", "é", "c"] {
            vocab.intern(word);
        }
        let (text, ends) = vocab.parts();
        let mut rebuilt = Vocab::from_parts(text.to_owned(), ends.to_vec()).unwrap();
        assert_eq!(rebuilt.iter().collect::<Vec<_>>(), ["b", "é", "c"]);
        assert_eq!(
            (rebuilt.id("é"), rebuilt.intern("d"), rebuilt.id("d")),
            (Some(1), Some(3), Some(3))
        );
        for ends in [&[1, 2, 4][..], &[1, 3, 5], &[3, 1, 4], &[1, 3]] {
            assert!(Vocab::from_parts(text.to_owned(), ends.to_vec()).is_none(), "{ends:?}");
        }
    }
}
