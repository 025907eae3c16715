//! Words and their ids.

use std::sync::OnceLock;

use hashbrown::HashTable;
use twox_hash::XxHash3_64;

use crate::{Error, Result};

/// The words of a corpus; a word's id is its place in the order of first appearance over train,
/// then valid, then test.
#[derive(Clone, Default)]
pub struct Vocab {
    /// All words, one behind the other.
    text: String,
    /// Where each word ends in `text`, in bytes.
    ends: Vec<u32>,
    /// Ids by word; made when the first word is looked up, which training never does.
    index: OnceLock<HashTable<u32>>,
}

/// Without a seed. hashbrown's own hasher has one in a static, of which the stock evcxr kernel links a
/// copy into each cell: a cell would not find the words that another has entered.
fn hash_of(word: &str) -> u64 {
    XxHash3_64::oneshot(word.as_bytes())
}

impl Vocab {
    /// Words that stand one behind the other in `text`; `None` unless the ends are in order, lie
    /// between characters, and the last is that of the text.
    pub(super) fn from_parts(text: String, ends: Vec<u32>) -> Option<Self> {
        let ordered = ends.is_sorted() && ends.last().is_none_or(|end| *end as usize == text.len());
        let whole = ends.iter().all(|end| text.is_char_boundary(*end as usize));
        (ordered && whole).then(|| Self { text, ends, ..Self::default() })
    }

    /// Words that are separated by single spaces, in the order of their ids; `None` where there are
    /// more than ids can be given to, or two are the same.
    pub(crate) fn from_joined(joined: &str) -> Option<Self> {
        let mut vocab = Self::default();
        for (id, word) in (0..).zip(joined.split(' ').filter(|word| !word.is_empty())) {
            if vocab.intern(word)? != id {
                return None;
            }
        }
        Some(vocab)
    }

    /// The words in the order of their ids, separated by spaces; no word has one in it.
    pub(crate) fn joined(&self) -> String {
        let mut joined = String::with_capacity(self.text.len() + self.len());
        for word in self.iter() {
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(word);
        }
        joined
    }

    /// A checksum of all words and their order: XXH3 of their text and of where each ends.
    pub fn checksum(&self) -> u64 {
        let ends = super::checksum::ids(&self.ends).0;
        super::checksum::bytes(self.text.as_bytes()) ^ ends.rotate_left(32)
    }

    /// The first id at which two vocabularies have different words, or one has none; `None` where
    /// they are the same.
    pub(crate) fn first_difference(&self, other: &Self) -> Option<u32> {
        if self.text == other.text && self.ends == other.ends {
            return None;
        }
        let common = self.iter().zip(other.iter()).take_while(|(ours, theirs)| ours == theirs);
        Some(common.count() as u32)
    }

    /// All words as one text, and where each ends.
    pub(super) fn parts(&self) -> (&str, &[u32]) {
        (&self.text, &self.ends)
    }

    /// The number of different words, `<eos>` included.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no word at all; never so in a [`crate::data::Corpus`].
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The word with this id.
    ///
    /// # Panics
    ///
    /// If the vocabulary has no such id, as with an index into a slice.
    pub fn word(&self, id: u32) -> &str {
        word(&self.text, &self.ends, id)
    }

    /// The id of a word, if the corpus has it.
    pub fn id(&self, word: &str) -> Option<u32> {
        let index = self.index.get_or_init(|| self.make_index());
        index.find(hash_of(word), |id| self.word(*id) == word).copied()
    }

    /// The ids of words that stand between spaces.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] naming the first one that is not in the vocabulary.
    pub fn ids(&self, text: &str) -> Result<Vec<i64>> {
        let id = |word: &str| {
            self.id(word).map(i64::from).ok_or_else(|| {
                Error::usage(
                    format!("the word '{word}'"),
                    format!("is not among the {} words that the model knows", self.len()),
                    "use words of its text, written as there (lower case, <unk> for rare ones)",
                )
            })
        };
        text.split_whitespace().map(id).collect()
    }

    /// All words in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|id| self.word(id as u32))
    }

    /// The id of a word, a new one if it has none yet; `None` once all ids, or the 4 GiB for the
    /// words' own text, are given out.
    pub(super) fn intern(&mut self, new: &str) -> Option<u32> {
        if self.index.get().is_none() {
            let _ = self.index.set(self.make_index());
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

    fn make_index(&self) -> HashTable<u32> {
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
    let start = id.checked_sub(1).map_or(0, |before| ends[before as usize]);
    &text[start as usize..end as usize]
}

impl std::fmt::Debug for Vocab {
    /// The size alone: nobody wants 267,735 words in a panic message.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocab").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_first_appearance_and_lead_back_to_the_words() {
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
    fn words_and_their_order_make_the_checksum() {
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
    fn parts_make_the_same_vocabulary_and_wrong_ones_none() {
        let mut vocab = Vocab::default();
        for word in ["b", "é", "c"] {
            vocab.intern(word);
        }
        let (text, ends) = vocab.parts();
        let mut again = Vocab::from_parts(text.to_owned(), ends.to_vec()).unwrap();
        assert_eq!(again.iter().collect::<Vec<_>>(), ["b", "é", "c"]);
        assert_eq!((again.id("é"), again.intern("d"), again.id("d")), (Some(1), Some(3), Some(3)));
        for ends in [&[1, 2, 4][..], &[1, 3, 5], &[3, 1, 4], &[1, 3]] {
            assert!(Vocab::from_parts(text.to_owned(), ends.to_vec()).is_none(), "{ends:?}");
        }
    }
}
