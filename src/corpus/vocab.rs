//! Words and their ids.

use std::collections::HashMap;
use std::sync::Arc;

/// The words of a corpus; a word's id is its place in the order of first appearance over train,
/// then valid, then test.
#[derive(Clone, Default)]
pub struct Vocab {
    words: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
}

impl Vocab {
    /// The number of different words, `<eos>` included.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is no word at all; never so in a [`crate::corpus::Corpus`].
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The word with this id.
    ///
    /// # Panics
    ///
    /// If the vocabulary has no such id, as with an index into a slice.
    pub fn word(&self, id: u32) -> &str {
        &self.words[id as usize]
    }

    /// The id of a word, if the corpus has it.
    pub fn id(&self, word: &str) -> Option<u32> {
        self.ids.get(word).copied()
    }

    /// All words in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.words.iter().map(|word| &**word)
    }

    /// The id of a word, a new one if it has none yet; `None` once all `u32` are given out.
    pub(super) fn intern(&mut self, word: &str) -> Option<u32> {
        if let Some(id) = self.ids.get(word) {
            return Some(*id);
        }
        let id = u32::try_from(self.words.len()).ok()?;
        let word: Arc<str> = word.into();
        self.words.push(word.clone());
        self.ids.insert(word, id);
        Some(id)
    }
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
        let ids: Vec<_> = ["b", "a", "b", "c"].iter().map(|word| vocab.intern(word)).collect();
        assert_eq!(ids, [Some(0), Some(1), Some(0), Some(2)]);
        assert_eq!(vocab.iter().collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!(vocab.word(2), "c");
        assert_eq!(vocab.id("a"), Some(1));
        assert_eq!(vocab.id("d"), None);
        assert_eq!(format!("{vocab:?}"), "Vocab { len: 3, .. }");
    }
}
