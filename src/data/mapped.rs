//! A text tokenized with an existing vocabulary.

use std::path::Path;

use super::reader;
use super::vocab::Vocab;
use crate::format::thousands;
use crate::{Error, Result};

/// Replaces words that are not in the vocabulary.
const UNKNOWN: &str = "<unk>";

/// A text as token ids of a vocabulary.
pub(crate) struct EncodedText {
    /// Token ids, with `<eos>` at the end of each line.
    pub tokens: Vec<u32>,
    /// Number of tokens replaced by `<unk>`.
    pub unknown: usize,
}

impl EncodedText {
    /// Reads a text like a split of a corpus, except that one line is enough.
    ///
    /// # Errors
    /// As [`super::Corpus::from_dir`]; [`Error::BadFile`] if words are unknown and the vocabulary has no
    /// `<unk>`.
    pub fn read(path: &Path, vocab: &Vocab) -> Result<Self> {
        let mut text_vocab = Vocab::default();
        let mut tokens = reader::text(path, &mut text_vocab, 1)?;
        let ids: Vec<Option<u32>> = text_vocab.iter().map(|word| vocab.id(word)).collect();
        let unknown = tokens.iter().filter(|id| ids[**id as usize].is_none()).count();
        let unk = vocab.id(UNKNOWN);
        // Ids are in order of first appearance, so this is the first unknown word of the text.
        if let (Some(first), None) = (ids.iter().position(Option::is_none), unk) {
            return Err(Error::bad_file(
                path,
                format!(
                    "{} of its {} tokens are not in the model's vocabulary, which has no {UNKNOWN}; the \
                     first is '{}'",
                    thousands(unknown as u64),
                    thousands(tokens.len() as u64),
                    text_vocab.word(first as u32)
                ),
                "give a text that uses only words of the model's training text",
            ));
        }
        // Without an <unk>, all words are known.
        let unk = unk.unwrap_or_default();
        tokens.iter_mut().for_each(|id| *id = ids[*id as usize].unwrap_or(unk));
        Ok(Self { tokens, unknown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_encoded_with_the_ids_of_the_vocabulary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "a c\nd a d\n").unwrap();
        let with_unk = Vocab::from_joined("c <eos> <unk> a").unwrap();
        let encoded = EncodedText::read(&path, &with_unk).unwrap();
        assert_eq!((encoded.tokens, encoded.unknown), (vec![3, 0, 1, 2, 3, 2, 1], 2));
        let without_unk = Vocab::from_joined("c <eos> a").unwrap();
        let error = EncodedText::read(&path, &without_unk).err().unwrap().to_string();
        assert!(error.contains("2 of its 7 tokens") && error.contains("'d'"), "{error}");
    }
}
