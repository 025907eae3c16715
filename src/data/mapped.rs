//! A text in the ids of words that are given: a model's own.

use std::path::Path;

use super::reader;
use super::vocab::Vocab;
use crate::{Error, Result};

/// The word that stands for all that are not in a vocabulary.
const UNKNOWN: &str = "<unk>";

/// A text in the ids of a vocabulary.
pub(crate) struct Mapped {
    /// Line after line, `<eos>` at the end of each.
    pub ids: Vec<u32>,
    /// How many of them are `<unk>` for a word that the vocabulary does not have.
    pub unknown: usize,
}

impl Mapped {
    /// Reads a text as a split of a corpus is read; one line is enough.
    ///
    /// # Errors
    /// As [`super::Corpus::from_dir`]; [`Error::BadFile`] where words are unknown and the vocabulary
    /// has no `<unk>`.
    pub fn read(path: &Path, vocab: &Vocab) -> Result<Self> {
        let mut found = Vocab::default();
        let mut ids = reader::text(path, &mut found, 1)?;
        let known: Vec<Option<u32>> = found.iter().map(|word| vocab.id(word)).collect();
        let unknown = ids.iter().filter(|id| known[**id as usize].is_none()).count();
        if unknown == 0 {
            ids.iter_mut().for_each(|id| *id = known[*id as usize].unwrap_or_default());
            return Ok(Self { ids, unknown });
        }
        let Some(stands_for_all) = vocab.id(UNKNOWN) else {
            // Ids are given in order of first appearance, so this is the first in the text.
            let first = known.iter().position(Option::is_none).unwrap_or_default();
            return Err(Error::bad_file(
                path,
                format!(
                    "{unknown} of its {} words are none of the model's, the first is '{}', and the \
                     model has no {UNKNOWN} to stand for them",
                    ids.len(),
                    found.word(first as u32)
                ),
                "give a text in the words of the text that the model was trained on",
            ));
        };
        ids.iter_mut().for_each(|id| *id = known[*id as usize].unwrap_or(stands_for_all));
        Ok(Self { ids, unknown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_the_ids_that_are_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "a c\nd a d\n").unwrap();
        let with = Vocab::from_joined("c <eos> <unk> a").unwrap();
        let mapped = Mapped::read(&path, &with).unwrap();
        assert_eq!((mapped.ids, mapped.unknown), (vec![3, 0, 1, 2, 3, 2, 1], 2));
        let without = Vocab::from_joined("c <eos> a").unwrap();
        let error = Mapped::read(&path, &without).err().unwrap().to_string();
        assert!(error.contains("2 of its 7 words") && error.contains("'d'"), "{error}");
    }
}
