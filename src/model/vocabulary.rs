//! Where a model meets a text: the one place that says whether their words are the same.
//!
//! A model learns ids, and a text with the same number of other words gives it ids that mean
//! something else. So a model carries the words that its ids stand for, in memory and in its files.

use std::path::Path;

use super::lm::QrnnLm;
use crate::data::{Corpus, Vocab};
use crate::{Error, Result};

/// What to do where a model meets the ids of another vocabulary.
const REMEDY: &str = "give the data that the model was trained on; `reproduce evaluate --text FILE` \
                      evaluates any text by the model's own words";

impl QrnnLm {
    /// The words that the model's ids stand for; `None` where nothing is known of them: a model of
    /// a file that does not hold them (of version 0.1 or of another program), or one that was made
    /// without a corpus and not trained yet.
    pub fn vocab(&self) -> Option<&Vocab> {
        self.vocab.as_deref()
    }

    /// # Errors
    /// [`Error::Usage`] where the model does not know its words.
    pub fn own_words(&self) -> Result<&Vocab> {
        self.vocab().ok_or_else(|| {
            Error::usage(
                "the words of the model",
                "are not in its file (version 0.1 or another program wrote it)",
                "give the `--data` that it was trained on",
            )
        })
    }

    /// Takes the corpus's words for the model's: its ids are what the model learns from now on.
    pub fn adopt_vocab(&mut self, corpus: &Corpus) {
        self.vocab = Some(corpus.shared_vocab());
    }
}

/// Whether a model and a text mean the same words by the same ids, as far as that is known.
///
/// # Errors
/// [`Error::Usage`] naming the first word that differs, and its id.
pub(crate) fn check_vocabulary(model: &QrnnLm, corpus: &Corpus) -> Result<()> {
    if let Some(words) = model.vocab() {
        return match words.first_difference(corpus.vocab()) {
            None => Ok(()),
            Some(id) => Err(differing(words, corpus, id)),
        };
    }
    let (ours, theirs) = (model.config().vocab, corpus.vocab().len());
    match ours == theirs {
        true => Ok(()),
        false => Err(Error::usage(
            format!("the model of {ours} words"),
            format!("the text {} has {theirs} words", corpus.name()),
            REMEDY,
        )),
    }
}

fn differing(model: &Vocab, corpus: &Corpus, id: u32) -> Error {
    let (theirs, ours) = (word(corpus.vocab(), id), word(model, id));
    Error::usage(
        format!("the text {}", corpus.name()),
        format!("is not in the words of the model: word {id} is {theirs} there and {ours} here"),
        REMEDY,
    )
}

fn word(vocab: &Vocab, id: u32) -> String {
    match (id as usize) < vocab.len() {
        true => format!("'{}'", vocab.word(id)),
        false => format!("missing ({} words)", vocab.len()),
    }
}

/// Whether the words of a file are those of a model that its weights are for.
///
/// # Errors
/// [`Error::BadFile`] naming the first word that differs, and its id.
pub(super) fn check_file(path: &Path, file: Option<&Vocab>, model: Option<&Vocab>) -> Result<()> {
    let (Some(file), Some(model)) = (file, model) else { return Ok(()) };
    let Some(id) = file.first_difference(model) else { return Ok(()) };
    let (theirs, ours) = (word(file, id), word(model, id));
    Err(Error::bad_file(
        path,
        format!("was trained on other words: word {id} is {theirs} there and {ours} in this text"),
        "give the data that the file's model was trained on",
    ))
}
