//! Models on the disk: weights, checkpoints, the folders of runs.
//!
//! Weights are a safetensors file under the original's names. Its metadata says what else makes the
//! model: its configuration, and its words in the order of their ids, separated by spaces. Files of
//! version 0.1 and of other programs have neither; a run's config.json beside them may say the first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use super::config::{LmConfig, Splits};
use super::lm::{DEFAULT_SEED, QrnnLm};
use super::{finite, vocabulary, weights};
use crate::data::{Corpus, Vocab};
use crate::files::run_folder::{
    CHECKPOINT, CONFIG as CONFIG_FILE, WEIGHTS, checkpoints, invalid_setting, read_config,
};
use crate::files::tensor_file;
use crate::{Error, Result, terminal};

/// The keys of the metadata.
const CONFIG: &str = "qrnn-model";
const VOCAB: &str = "qrnn-vocabulary";

/// A safetensors file's header, metadata included, may have 100 MB, and a byte of a word takes up to 8
/// there, as JSON in JSON.
const MOST_WORD_BYTES: usize = 12 << 20;

const REMEDY: &str = "give a model.safetensors that `reproduce train` or Python's safetensors wrote, a checkpoint, or \
     the folder of a run";

/// What a weight file says beside its tensors.
pub(crate) fn metadata(model: &QrnnLm) -> Result<HashMap<String, String>> {
    let config = serde_json::to_string(model.config())
        .map_err(|error| Error::io("the configuration", "write")(error.into()))?;
    let mut metadata = HashMap::from([(CONFIG.to_owned(), config)]);
    if let Some(vocab) = model.vocab() {
        let words = vocab.joined();
        // More would not fit; that model is then one whose words are not known.
        if words.len() <= MOST_WORD_BYTES {
            metadata.insert(VOCAB.into(), words);
        }
    }
    Ok(metadata)
}

/// Whether a checkpoint's words are those of a text.
///
/// # Errors
/// [`Error::BadFile`] naming the first word that differs.
pub(crate) fn check_words(
    path: &Path,
    metadata: &HashMap<String, String>,
    corpus: &Corpus,
) -> Result<()> {
    let vocab = vocab_of(path, metadata)?;
    vocabulary::check_file(path, vocab.as_ref(), Some(corpus.vocab()))
}

/// The words that a file's metadata hold.
fn vocab_of(path: &Path, metadata: &HashMap<String, String>) -> Result<Option<Vocab>> {
    let Some(words) = metadata.get(VOCAB) else { return Ok(None) };
    match Vocab::from_joined(words) {
        Some(vocab) => Ok(Some(vocab)),
        None => Err(Error::bad_file(path, "names one of its words twice", REMEDY)),
    }
}

/// What a model needs of a run's config.json.
#[derive(Deserialize)]
struct ConfigFile {
    corpus: String,
    model: LmConfig,
    recipe: WindowLength,
}

#[derive(Deserialize)]
struct WindowLength {
    bptt: usize,
}

fn config_beside(weights: &Path) -> Result<Option<ConfigFile>> {
    let path = weights.with_file_name(CONFIG_FILE);
    let Some(config) = read_config::<ConfigFile>(&path)? else { return Ok(None) };
    config.model.check().map_err(|error| invalid_setting(&path, error))?;
    Ok(Some(config))
}

/// A model that was opened, its tensors read, to be looked at and made.
#[derive(Debug)]
pub struct SavedModel {
    path: PathBuf,
    named: weights::Named,
    metadata: HashMap<String, String>,
    config: Option<LmConfig>,
    /// The name of the text, where a config.json beside the file says it.
    corpus: Option<String>,
    vocab: Option<Arc<Vocab>>,
    /// Of a checkpoint.
    step: Option<u64>,
}

impl SavedModel {
    /// Opens a weight file, a checkpoint, or the folder of a run: its model.safetensors, or its
    /// newest checkpoint where no epoch has ended yet.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::BadFile`] where there is no model or the file is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Self::open_file(path);
        }
        let weights = path.join(WEIGHTS);
        if weights.exists() {
            return Self::open_file(&weights);
        }
        match checkpoints(path)?.pop() {
            Some((_, newest)) => Self::open_file(&newest),
            None => Err(Error::bad_file(
                path,
                "holds no model: neither model.safetensors nor a checkpoint",
                REMEDY,
            )),
        }
    }

    fn open_file(path: &Path) -> Result<Self> {
        let file = tensor_file::read(path, REMEDY)?;
        let damaged = |problem: String| Error::bad_file(path, problem, REMEDY);
        let read = |text: &str| -> Result<LmConfig> {
            serde_json::from_str(text)
                .map_err(|error| damaged(format!("its metadata describe no model ({error})")))
        };
        let mut config = file.metadata.get(CONFIG).map(|text| read(text)).transpose()?;
        let mut corpus = None;
        let mut step = None;
        let tensors = match file.metadata.get(CHECKPOINT) {
            None => file.tensors,
            Some(note) => {
                // A checkpoint's model among the rest of what a run needs.
                let note: serde_json::Value = serde_json::from_str(note)
                    .map_err(|error| damaged(format!("its note cannot be read ({error})")))?;
                step = note["progress"]["step"].as_u64();
                if config.is_none() {
                    config = Some(read(&note["model"].to_string())?);
                }
                let own = |(name, tensor): (String, Tensor)| {
                    name.strip_prefix("model.").map(|name| (name.to_owned(), tensor))
                };
                file.tensors.into_iter().filter_map(own).collect()
            }
        };
        match &config {
            None => {
                if let Some(beside) = config_beside(path)? {
                    corpus = Some(beside.corpus);
                    config = Some(beside.model.bptt(beside.recipe.bptt));
                }
            }
            Some(own) => {
                // In a run's folder it is the run's, elsewhere perhaps somebody else's.
                let of_a_run = path.with_file_name("metrics.jsonl").exists();
                let beside = config_beside(path);
                let beside = if of_a_run { beside? } else { beside.ok().flatten() };
                let same = |beside: &ConfigFile| {
                    beside.model.clone().bptt(beside.recipe.bptt)
                        == own.clone().bptt(beside.recipe.bptt)
                };
                corpus = beside.filter(same).map(|beside| beside.corpus);
            }
        }
        let vocab = vocab_of(path, &file.metadata)?.map(Arc::new);
        let named = weights::of_this_model(path, tensors)?;
        let (path, metadata) = (path.to_owned(), file.metadata);
        let saved = Self { path, named, metadata, config, corpus, vocab, step };
        saved.check_vocab()?;
        Ok(saved)
    }

    /// A list of words as long as the embedding.
    fn check_vocab(&self) -> Result<()> {
        let Some(vocab) = &self.vocab else { return Ok(()) };
        let rows = self.sizes()?.vocab;
        match vocab.len() == rows {
            true => Ok(()),
            false => Err(Error::bad_file(
                &self.path,
                format!("names {} words for {rows} rows of encoder.weight", vocab.len()),
                REMEDY,
            )),
        }
    }

    /// The file that was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The step of the run after which it was written, of a checkpoint.
    pub fn step(&self) -> Option<u64> {
        self.step
    }

    /// The name of the text that it was trained on, where a config.json beside the file tells.
    pub fn corpus_name(&self) -> Option<&str> {
        self.corpus.as_deref()
    }

    /// The words that its ids stand for, where the file holds them.
    pub fn vocab(&self) -> Option<&Vocab> {
        self.vocab.as_deref()
    }

    /// What a run wrote beside its weights under a key of its own.
    pub(crate) fn note(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    fn sizes(&self) -> Result<LmConfig> {
        weights::sizes(&self.path, &self.named)
    }

    /// The model. Its configuration is that of the file, else of a config.json beside it, else what
    /// the tensors tell, with no dropout.
    ///
    /// * `splits`: clusters of the softmax, for a file that does not say; otherwise they must be the
    ///   model's own.
    ///
    /// # Errors
    /// [`Error::Usage`] where `splits` contradict the file, [`Error::BadFile`] where its tensors do
    /// not make a model, [`Error::Unavailable`] where the device is.
    pub fn model(self, splits: Option<&Splits>, device: Device) -> Result<QrnnLm> {
        let settings = self.config.clone().unwrap_or(LmConfig::paper(1, 1));
        let settings = match self.config {
            Some(_) => settings,
            None => settings.locked_dropouts(0.0, 0.0, 0.0),
        };
        self.model_with(settings, splits, device)
    }

    /// The model with dropouts, window and range of `settings`, and its splits unless they are
    /// [`Splits::Auto`].
    pub(super) fn model_as(self, settings: &LmConfig, device: Device) -> Result<QrnnLm> {
        let splits = Some(settings.splits.clone()).filter(|splits| *splits != Splits::Auto);
        self.model_with(settings.clone(), splits.as_ref(), device)
    }

    fn model_with(
        self,
        settings: LmConfig,
        splits: Option<&Splits>,
        device: Device,
    ) -> Result<QrnnLm> {
        let sizes = self.sizes()?;
        if let Some(upstream) = splits {
            self.check_splits(upstream, sizes.vocab)?;
        }
        let own = self.config.as_ref().map(|config| &config.splits);
        let config = LmConfig {
            vocab: sizes.vocab,
            emsize: sizes.emsize,
            nhid: sizes.nhid,
            nlayers: sizes.nlayers,
            splits: splits.or(own).cloned().unwrap_or_default(),
            ..settings
        };
        let mut model = QrnnLm::seeded(&config, (Kind::Float, device), DEFAULT_SEED)?;
        self.load_into(&mut model)?;
        Ok(model)
    }

    /// Replaces a model's weights; all of them or none. Its words are then the file's, which are not
    /// known where the file does not hold them.
    ///
    /// # Errors
    /// [`Error::BadFile`] where words, sizes or names are not the model's, [`Error::Usage`] where its
    /// clusters are not.
    pub(crate) fn load_into(mut self, model: &mut QrnnLm) -> Result<()> {
        if self.config.is_none() && model.config().splits == Splits::None {
            self.leave_out_tails();
        }
        vocabulary::check_file(&self.path, self.vocab(), model.vocab())?;
        let splits = self.check_splits(&model.config().splits, model.config().vocab);
        if let Err(error) = weights::check(&self.path, &self.named, &model.parameters()) {
            // Other clusters make other tensors, of as many words.
            let same = self.sizes().is_ok_and(|sizes| sizes.vocab == model.config().vocab);
            return Err(splits.err().filter(|_| same).unwrap_or(error));
        }
        splits?;
        finite::check(self.named.iter().map(|(name, tensor)| (name.as_str(), tensor)))?;
        weights::assign(self.named, &model.parameters())?;
        model.vocab = self.vocab;
        Ok(())
    }

    /// A file that does not say its clusters may be read as a plain softmax, which has no use for what
    /// stands for the others.
    fn leave_out_tails(&mut self) {
        let before = self.named.len();
        self.named.retain(|name, _| !name.starts_with("criterion."));
        if self.named.len() < before {
            terminal::note(format_args!(
                "{}: criterion.tail_vectors and criterion.tail_bias are not used, as --splits none \
                 asks for a plain softmax",
                self.path.display()
            ));
        }
    }

    /// # Errors
    /// [`Error::Usage`] where other clusters are asked for than those that the weights were trained
    /// with.
    fn check_splits(&self, upstream: &Splits, vocab: usize) -> Result<()> {
        let Some(own) = self.config.as_ref().map(|config| &config.splits) else { return Ok(()) };
        let (theirs, ours) = (upstream.borders(vocab)?, own.borders(vocab)?);
        if theirs == ours {
            return Ok(());
        }
        let shown = |borders: Vec<usize>| match borders.is_empty() {
            true => Splits::None,
            false => Splits::At(borders),
        };
        let ours = shown(ours);
        let upstream = match upstream {
            Splits::Auto => format!("--splits auto (here {})", shown(theirs)),
            Splits::None | Splits::At(_) => format!("--splits {}", shown(theirs)),
        };
        Err(Error::usage(
            upstream,
            format!("{} was trained with --splits {ours}", self.path.display()),
            format!("leave it out, or say `--splits {ours}`"),
        ))
    }
}

impl QrnnLm {
    /// Opens a trained model: a weight file, a checkpoint, or the folder of a run.
    ///
    /// # Errors
    /// As [`SavedModel::open`] and [`SavedModel::model`].
    pub fn open(path: impl AsRef<Path>, device: Device) -> Result<Self> {
        SavedModel::open(path)?.model(None, device)
    }

    /// A model with the weights of a file, its sizes read off the tensors; dropouts and window are
    /// `settings`', and so are the splits where the file does not say them.
    ///
    /// # Errors
    /// As [`QrnnLm::open`].
    pub fn from_file(path: impl AsRef<Path>, settings: &LmConfig, device: Device) -> Result<Self> {
        SavedModel::open(path)?.model_as(settings, device)
    }

    /// Replaces all weights by those of a file, a checkpoint or a run's folder.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::BadFile`] where the file is truncated, no safetensors file, of
    /// other words, or a tensor is missing, surplus or of another shape. The weights are then as
    /// they were.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        SavedModel::open(path)?.load_into(self)
    }

    /// Writes all weights as safetensors, whole or not at all, with the configuration and the words.
    ///
    /// # Errors
    /// [`Error::Io`]; an older file of that name then stays as it was.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        tensor_file::write(path.as_ref(), &self.parameters(), metadata(self)?)
    }
}
