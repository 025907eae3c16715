//! The vocabulary of a model, and checks that it equals that of a corpus or file.
//!
//! Two vocabularies of the same size may assign the same ids to different words, so a model stores its
//! vocabulary, in memory and in its files.

use std::path::Path;

use super::lm::QrnnLm;
use crate::data::{Corpus, Vocab};
use crate::{Error, Result};

const REMEDY: &str = "use the data that the model was trained on; `reproduce evaluate --text FILE` \
                      evaluates any text with the model's vocabulary";

impl QrnnLm {
    /// The vocabulary; `None` if unknown, for a model from a file without it (of version 0.1 or another
    /// program), or one built without a corpus and not trained yet.
    pub fn vocab(&self) -> Option<&Vocab> {
        self.vocab.as_deref()
    }

    /// The vocabulary.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it is unknown.
    pub fn require_vocab(&self) -> Result<&Vocab> {
        self.vocab().ok_or_else(|| {
            Error::mismatch(
                "the model",
                "has no vocabulary in its file (written by version 0.1 or another program)",
                "give the corpus that it was trained on (`Corpus::from_dir`)",
            )
        })
    }

    /// Sets the vocabulary to that of a corpus, for training on it.
    pub fn adopt_vocab(&mut self, corpus: &Corpus) {
        self.vocab = Some(corpus.shared_vocab());
    }
}

/// Checks that a model and a corpus have the same vocabulary, or at least the same vocabulary size if the
/// model's is unknown.
///
/// # Errors
/// [`Error::Mismatch`] naming the first word that differs, and its id.
pub(crate) fn check_vocabulary(model: &QrnnLm, corpus: &Corpus) -> Result<()> {
    if let Some(words) = model.vocab() {
        return match words.first_difference(corpus.vocab()) {
            None => Ok(()),
            Some(id) => Err(difference(words, corpus, id)),
        };
    }
    let (model_size, corpus_size) = (model.config().vocab, corpus.vocab().len());
    if model_size == corpus_size {
        return Ok(());
    }
    Err(Error::mismatch(
        format!("the corpus {}", corpus.name()),
        format!("has {corpus_size} words, but the model has {model_size}"),
        REMEDY,
    ))
}

fn difference(model: &Vocab, corpus: &Corpus, id: u32) -> Error {
    let (corpus_word, model_word) = (word(corpus.vocab(), id), word(model, id));
    Error::mismatch(
        format!("the corpus {}", corpus.name()),
        format!(
            "has another vocabulary than the model: word {id} is {corpus_word} in the corpus and \
             {model_word} in the model"
        ),
        REMEDY,
    )
}

fn word(vocab: &Vocab, id: u32) -> String {
    if (id as usize) < vocab.len() {
        format!("'{}'", vocab.word(id))
    } else {
        format!("missing ({} words)", vocab.len())
    }
}

/// Checks that the vocabulary of a file is that of the model that its weights are loaded into.
///
/// # Errors
/// [`Error::BadFile`] naming the first word that differs, and its id.
pub(super) fn check_file(path: &Path, file: Option<&Vocab>, model: Option<&Vocab>) -> Result<()> {
    let (Some(file), Some(model)) = (file, model) else { return Ok(()) };
    let Some(id) = file.first_difference(model) else { return Ok(()) };
    let (file_word, model_word) = (word(file, id), word(model, id));
    Err(Error::bad_file(
        path,
        format!(
            "has another vocabulary: word {id} is {file_word} in the file and {model_word} in this \
             corpus"
        ),
        "use the data that the file's model was trained on",
    ))
}
