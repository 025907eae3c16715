//! The metadata of weight files: configuration, vocabulary, order of ids; and the config.json beside them.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::config::LmConfig;
use super::lm::QrnnLm;
use super::vocabulary::{self, KnownWords};
use crate::data::{Corpus, IdOrder, Vocab};
use crate::files::run_folder::{CONFIG as CONFIG_FILE, invalid_setting, read_config};
use crate::{Error, Result};

/// The keys of the metadata.
pub(super) const CONFIG: &str = "qrnn-model";
const VOCAB: &str = "qrnn-vocabulary";
const IDS: &str = "qrnn-ids";

/// The header of a safetensors file is limited to 100 MB, and a byte of a word takes up to 8 there (JSON
/// within JSON).
const MAX_VOCAB_BYTES: usize = 12 << 20;

pub(super) const REMEDY: &str = "give a model.safetensors written by `reproduce train` or Python's \
                                 safetensors, a checkpoint, or a run folder";

/// The metadata of a weight file: configuration, vocabulary and order of ids.
pub(crate) fn metadata(model: &QrnnLm) -> Result<HashMap<String, String>> {
    let config = serde_json::to_string(model.config())
        .map_err(|error| Error::io("the configuration", "write")(error.into()))?;
    let mut metadata = HashMap::from([(CONFIG.to_owned(), config)]);
    if let Some(ids) = model.ids().filter(|ids| !ids.is_first_appearance()) {
        metadata.insert(IDS.to_owned(), ids.to_string());
    }
    if let Some(vocab) = model.vocab() {
        let words = vocab.joined();
        // A larger vocabulary does not fit in the header, so it is omitted.
        if words.len() <= MAX_VOCAB_BYTES {
            metadata.insert(VOCAB.into(), words);
        }
    }
    Ok(metadata)
}

/// Checks that the vocabulary of a checkpoint is that of a corpus.
///
/// # Errors
/// [`Error::BadFile`] naming the first word that differs.
pub(crate) fn check_words(
    path: &Path,
    metadata: &HashMap<String, String>,
    corpus: &Corpus,
) -> Result<()> {
    let vocab = vocab_of(path, metadata)?;
    let file = KnownWords { vocab: vocab.as_ref(), ids: ids_of(path, metadata)? };
    let corpus = KnownWords { vocab: Some(corpus.vocab()), ids: Some(corpus.ids()) };
    vocabulary::check_file(path, file, corpus)
}

/// The order of ids in a file's metadata; `None` if it has none of ours.
pub(super) fn ids_of(path: &Path, metadata: &HashMap<String, String>) -> Result<Option<IdOrder>> {
    let of_text = |text: &String| {
        text.parse().map_err(|_| {
            Error::bad_file(path, format!("has ids in an unknown order, '{text}'"), REMEDY)
        })
    };
    match metadata.get(IDS) {
        Some(text) => of_text(text).map(Some),
        None => Ok(metadata.contains_key(CONFIG).then_some(IdOrder::FirstAppearance)),
    }
}

/// The vocabulary in a file's metadata.
pub(super) fn vocab_of(path: &Path, metadata: &HashMap<String, String>) -> Result<Option<Vocab>> {
    let Some(words) = metadata.get(VOCAB) else { return Ok(None) };
    match Vocab::from_joined(words) {
        Some(vocab) => Ok(Some(vocab)),
        None => Err(Error::bad_file(path, "has a vocabulary with a duplicate word", REMEDY)),
    }
}

/// The fields of a run's config.json that a model needs.
#[derive(Deserialize)]
pub(super) struct ConfigFile {
    pub corpus: String,
    #[serde(default)]
    pub ids: IdOrder,
    pub model: LmConfig,
    pub recipe: WindowLength,
}

#[derive(Deserialize)]
pub(super) struct WindowLength {
    pub bptt: usize,
}

pub(super) fn config_beside(weights: &Path) -> Result<Option<ConfigFile>> {
    let path = weights.with_file_name(CONFIG_FILE);
    let Some(config) = read_config::<ConfigFile>(&path)? else { return Ok(None) };
    config.model.check().map_err(|error| invalid_setting(&path, error))?;
    Ok(Some(config))
}
