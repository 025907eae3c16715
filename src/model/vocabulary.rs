//! The vocabulary of a model, and checks that it equals that of a corpus or file.
//!
//! Two vocabularies of the same size may assign the same ids to different words, so a model stores its
//! vocabulary, in memory and in its files, and the order of its ids.

use std::path::Path;

use super::lm::QrnnLm;
use crate::data::{Corpus, IdOrder, Vocab};
use crate::{Error, Result};

const REMEDY: &str = "use the data that the model was trained on; `reproduce evaluate --text FILE` \
                      evaluates any text with the model's vocabulary";

impl QrnnLm {
    /// The vocabulary; `None` if unknown, for a model from a file without it (of version 0.1 or another
    /// program), or one built without a corpus and not trained yet.
    pub fn vocab(&self) -> Option<&Vocab> {
        self.vocab.as_deref()
    }

    /// The order of the token ids; `None` if unknown, as for a model from a file of another program, or built without a
    /// corpus and not trained yet.
    pub fn ids(&self) -> Option<IdOrder> {
        self.ids
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
        self.ids = Some(corpus.ids());
    }
}

/// Checks that a model and a corpus have the same vocabulary, or at least the same order of ids and vocabulary
/// size if the model's is unknown.
///
/// # Errors
/// [`Error::Mismatch`] naming the orders, or the first word that differs, and its id.
pub(crate) fn check_vocabulary(model: &QrnnLm, corpus: &Corpus) -> Result<()> {
    let difference = match model.vocab() {
        Some(words) => words.first_difference(corpus.vocab()).map(|id| (words, id)),
        None => None,
    };
    if let Some(ids) = model.ids().filter(|ids| *ids != corpus.ids())
        && (difference.is_some() || model.vocab().is_none())
    {
        return Err(other_order(
            format!("the corpus {}", corpus.name()),
            corpus.ids(),
            "the model",
            ids,
        ));
    }
    if let Some((words, id)) = difference {
        return Err(self::difference(words, corpus, id));
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

/// The error of two orders of ids.
///
/// * `what` has its ids in the order `ours`, `whose` in the order `theirs`.
fn other_order(what: String, ours: IdOrder, whose: &str, theirs: IdOrder) -> Error {
    let remedy = match theirs {
        IdOrder::Frequency => {
            "use `.by_frequency()`, which numbers the words of the corpus likewise"
        }
        IdOrder::FirstAppearance => "leave out `.by_frequency()`",
    };
    Error::mismatch(
        what,
        format!("has its ids {}, but those of {whose} are {}", ours.in_words(), theirs.in_words()),
        remedy,
    )
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

/// A vocabulary and the order of its ids, as far as they are known.
#[derive(Clone, Copy)]
pub(super) struct KnownWords<'a> {
    pub vocab: Option<&'a Vocab>,
    pub ids: Option<IdOrder>,
}

/// Checks that the vocabulary of a file is that of the model that its weights are loaded into.
///
/// # Errors
/// [`Error::Mismatch`] for other orders of ids; [`Error::BadFile`] naming the first word that differs, and its id.
pub(super) fn check_file(path: &Path, file: KnownWords<'_>, model: KnownWords<'_>) -> Result<()> {
    let words = file.vocab.zip(model.vocab);
    let difference = words.and_then(|(file, model)| file.first_difference(model));
    if let (Some(theirs), Some(ours)) = (file.ids, model.ids)
        && theirs != ours
        && (difference.is_some() || words.is_none())
    {
        let model = format!("the model of {}", path.display());
        return Err(other_order("the corpus".into(), ours, &model, theirs));
    }
    let (Some((file, model)), Some(id)) = (words, difference) else { return Ok(()) };
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
