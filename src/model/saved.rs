//! Saved models: weight files, checkpoints, run folders.
//!
//! A weight file is a safetensors file with the tensor names of awd-lstm-lm. Its metadata hold the
//! configuration, the words in the order of their ids, separated by spaces, and that order if it is not the one of
//! first appearance. Files of version 0.1 and of other programs have no such metadata; a config.json in the same
//! folder may hold the configuration.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::compressed::{self, CompressedMetadata};
use super::config::LmConfig;
use super::file_metadata::{CONFIG, ConfigFile, REMEDY, config_beside, ids_of, metadata, vocab_of};
use super::lm::{DEFAULT_SEED, QrnnLm};
use super::splits::Splits;
use super::weights;
use crate::data::{Corpus, IdOrder, Vocab};
use crate::files::run_folder::{CHECKPOINT, WEIGHTS, checkpoints};
use crate::files::tensor_file;
use crate::packed::PackedFile;
use crate::{Error, Result};

/// An opened model file, from which a [`QrnnLm`] can be built.
#[derive(Debug)]
pub struct SavedModel {
    pub(super) path: PathBuf,
    pub(super) tensors: weights::NamedTensors,
    metadata: HashMap<String, String>,
    pub(super) config: Option<LmConfig>,
    /// The order of the token ids, if known.
    ids: Option<IdOrder>,
    /// The name of the training corpus, from a config.json in the same folder.
    corpus: Option<String>,
    pub(super) vocab: Option<Arc<Vocab>>,
    /// The step of a checkpoint.
    step: Option<u64>,
    /// The tensors as they are stored, and what they are, of a compressed file.
    compressed: Option<(Arc<PackedFile>, CompressedMetadata)>,
}

impl SavedModel {
    /// Opens a weight file, a checkpoint, or a run folder: its model.safetensors, or its newest checkpoint
    /// if no epoch has ended yet.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] if there is no model or the file is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_file(&Self::file_of(path.as_ref())?)
    }

    /// The file of a model: a file itself, or that of a run folder.
    fn file_of(path: &Path) -> Result<PathBuf> {
        if !path.is_dir() {
            return Ok(path.into());
        }
        let weights = path.join(WEIGHTS);
        if weights.exists() {
            return Ok(weights);
        }
        match checkpoints(path)?.pop() {
            Some((_, newest)) => Ok(newest),
            None => Err(Error::bad_file(
                path,
                "holds neither model.safetensors nor a checkpoint",
                REMEDY,
            )),
        }
    }

    fn open_file(path: &Path) -> Result<Self> {
        if PackedFile::is_packed(path)? {
            return Self::open_compressed(path);
        }
        let file = tensor_file::read(path, REMEDY)?;
        let damaged = |problem: String| Error::bad_file(path, problem, REMEDY);
        let read = |text: &str| -> Result<LmConfig> {
            serde_json::from_str(text).map_err(|error| {
                damaged(format!("its metadata are not the configuration of a model ({error})"))
            })
        };
        let mut config = file.metadata.get(CONFIG).map(|text| read(text)).transpose()?;
        let mut ids = ids_of(path, &file.metadata)?;
        let mut corpus = None;
        let mut step = None;
        let tensors = match file.metadata.get(CHECKPOINT) {
            None => file.tensors,
            Some(state) => {
                // A checkpoint also holds the optimizer and other state.
                let state: serde_json::Value = serde_json::from_str(state).map_err(|error| {
                    damaged(format!("its training state cannot be read ({error})"))
                })?;
                step = state["progress"]["step"].as_u64();
                if config.is_none() {
                    config = Some(read(&state["model"].to_string())?);
                }
                let model_tensor = |(name, tensor): (String, Tensor)| {
                    name.strip_prefix("model.").map(|name| (name.to_owned(), tensor))
                };
                file.tensors.into_iter().filter_map(model_tensor).collect()
            }
        };
        match &config {
            None => {
                if let Some(config_file) = config_beside(path)? {
                    corpus = Some(config_file.corpus);
                    ids = Some(config_file.ids);
                    config = Some(config_file.model.bptt(config_file.recipe.bptt));
                }
            }
            Some(file_config) => {
                // Outside a run folder, the config.json may be unrelated.
                let in_run_folder = path.with_file_name("metrics.jsonl").exists();
                let config_file = config_beside(path);
                let config_file =
                    if in_run_folder { config_file? } else { config_file.ok().flatten() };
                let same = |config_file: &ConfigFile| {
                    config_file.model.clone().bptt(config_file.recipe.bptt)
                        == file_config.clone().bptt(config_file.recipe.bptt)
                };
                corpus = config_file.filter(same).map(|config_file| config_file.corpus);
            }
        }
        let vocab = vocab_of(path, &file.metadata)?.map(Arc::new);
        let tensors = weights::with_model_names(path, tensors)?;
        if weights::is_adaptive(&tensors) {
            // An adaptive embedding has no other order.
            ids = ids.or(Some(IdOrder::Frequency));
        }
        let (path, metadata) = (path.to_owned(), file.metadata);
        let compressed = None;
        let saved = Self { path, tensors, metadata, config, ids, corpus, vocab, step, compressed };
        saved.check_vocab()?;
        Ok(saved)
    }

    fn open_compressed(path: &Path) -> Result<Self> {
        let file = PackedFile::read(path)?;
        let metadata = CompressedMetadata::of(path, &file)?;
        let vocab = compressed::words_beside(path, &metadata)?.map(Arc::new);
        Ok(Self {
            path: path.to_owned(),
            tensors: BTreeMap::new(),
            metadata: file.metadata.clone().into_iter().collect(),
            config: Some(metadata.model.clone()),
            ids: Some(metadata.ids),
            corpus: Some(metadata.corpus.clone()),
            vocab,
            step: None,
            compressed: Some((Arc::new(file), metadata)),
        })
    }

    /// The tensors as they are stored, and what they are, of a compressed file.
    pub(crate) fn compressed(&self) -> Option<(&Arc<PackedFile>, &CompressedMetadata)> {
        self.compressed.as_ref().map(|(file, metadata)| (file, metadata))
    }

    /// The tensors of a compressed file, as they are stored.
    pub fn packed(&self) -> Option<&PackedFile> {
        self.compressed.as_ref().map(|(file, _)| &**file)
    }

    /// The configuration that the file states, or a config.json in the same folder.
    pub fn config(&self) -> Option<&LmConfig> {
        self.config.as_ref()
    }

    /// The configuration of a weight file, a checkpoint or a run folder, without libtorch; `None` for a compressed
    /// model, which [`SavedModel::open`] reads without it too.
    ///
    /// # Errors
    /// As [`SavedModel::open`]; [`Error::BadFile`] if neither the file nor a config.json beside it states a
    /// configuration.
    pub fn read_config(path: impl AsRef<Path>) -> Result<Option<LmConfig>> {
        let path = Self::file_of(path.as_ref())?;
        if PackedFile::is_packed(&path)? {
            return Ok(None);
        }
        let metadata = tensor_file::read_metadata(&path, REMEDY)?;
        let checkpoint = metadata.get(CHECKPOINT).and_then(|state| {
            let state: serde_json::Value = serde_json::from_str(state).ok()?;
            Some(state["model"].to_string())
        });
        if let Some(text) = metadata.get(CONFIG).or(checkpoint.as_ref()) {
            let config: LmConfig = serde_json::from_str(text).map_err(|error| {
                let problem = "its metadata are not the configuration of a model";
                Error::bad_file(&path, format!("{problem} ({error})"), REMEDY)
            })?;
            return Ok(Some(config));
        }
        match config_beside(&path)? {
            Some(beside) => Ok(Some(beside.model)),
            None => Err(Error::bad_file(
                &path,
                "states no configuration",
                "give the sizes of the model instead: --emsize, --nhid, --nlayers, --vocab, --splits",
            )),
        }
    }

    /// Whether the file is of a compressed model, whose weights are rounded.
    pub fn is_compressed(&self) -> bool {
        self.compressed.is_some()
    }

    /// # Errors
    /// [`Error::Mismatch`] if the file is of a compressed model, whose weights nothing is trained from.
    pub fn check_trainable(&self) -> Result<()> {
        if !self.is_compressed() {
            return Ok(());
        }
        Err(Error::mismatch(
            self.path.display().to_string(),
            "is a compressed model: its weights are rounded, and training would neither keep them so nor its zeros",
            "start from the model that it was compressed from; `reproduce evaluate` and `CompressedLm::open` take this one",
        ))
    }

    /// Checks the words of a corpus against the checksum in a compressed file, which holds without vocabulary.txt, too.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the file was made with other words.
    pub fn check_words(&self, corpus: &Corpus) -> Result<()> {
        let sum = self.compressed.as_ref().and_then(|(_, metadata)| metadata.vocabulary.as_ref());
        if self.vocab.is_some()
            || sum.is_none_or(|sum| *sum == compressed::words_checksum(corpus.vocab()))
        {
            return Ok(());
        }
        Err(Error::mismatch(
            format!("the corpus {}", corpus.name()),
            format!("does not have the words of {}", self.path.display()),
            "use the data that the model was trained on",
        ))
    }

    /// Checks that the vocabulary and the embedding have the same size.
    fn check_vocab(&self) -> Result<()> {
        let Some(vocab) = &self.vocab else { return Ok(()) };
        let rows = self.sizes()?.vocab;
        if vocab.len() == rows {
            return Ok(());
        }
        Err(Error::bad_file(
            &self.path,
            format!("has {} words for {rows} rows of the embedding", vocab.len()),
            REMEDY,
        ))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of training steps of a checkpoint; `None` for a weight file.
    pub fn step(&self) -> Option<u64> {
        self.step
    }

    /// The name of the training corpus, if a config.json in the same folder states it.
    pub fn corpus_name(&self) -> Option<&str> {
        self.corpus.as_deref()
    }

    /// The order of the token ids; `None` if unknown, for a file of another program.
    pub fn ids(&self) -> Option<IdOrder> {
        self.ids
    }

    /// The vocabulary, if the file holds it.
    pub fn vocab(&self) -> Option<&Vocab> {
        self.vocab.as_deref()
    }

    /// A metadata entry.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    pub(super) fn sizes(&self) -> Result<LmConfig> {
        weights::sizes(&self.path, &self.tensors)
    }

    /// The clusters that the weights were trained with, if the file states them.
    pub(super) fn splits(&self) -> Result<Option<Splits>> {
        Ok(match &self.config {
            Some(config) => Some(config.splits.clone()),
            None if weights::is_adaptive(&self.tensors) => Some(self.sizes()?.splits),
            None => None,
        })
    }

    /// Checks that the model in the file has these sizes, except that of the vocabulary.
    ///
    /// # Errors
    /// [`Error::BadFile`] with both values of the first size that differs.
    pub fn check_sizes(&self, config: &LmConfig) -> Result<()> {
        self.check_trainable()?;
        weights::check_sizes(&self.path, &self.sizes()?, config)
    }

    /// Builds the model. The configuration is from the file, otherwise from a config.json in the same
    /// folder, otherwise inferred from the tensors, without dropout.
    ///
    /// * `splits`: clusters of the softmax, for a file that does not state them. Otherwise they must
    ///   equal those of the file.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if `splits` contradict the file; [`Error::BadFile`] if the tensors are not those
    /// of a model; [`Error::Unavailable`] if the device is not available.
    pub fn model(self, splits: Option<&Splits>, device: Device) -> Result<QrnnLm> {
        if let Some((file, metadata)) = &self.compressed {
            if let Some(splits) = splits {
                self.check_splits(splits, metadata.model.vocab)?;
            }
            return compressed::model_of(&self.path, file.clone(), metadata, self.vocab, device);
        }
        let settings = self.config.clone().unwrap_or(LmConfig::paper(1, 1));
        let settings = match self.config {
            Some(_) => settings,
            None => settings.locked_dropouts(0.0, 0.0, 0.0),
        };
        self.model_with(settings, splits, device)
    }

    /// As [`SavedModel::model`], with dropouts, bptt and init_range of `settings`, and its splits unless
    /// they are [`Splits::Auto`].
    pub(super) fn model_as(self, settings: &LmConfig, device: Device) -> Result<QrnnLm> {
        if self.is_compressed() {
            return self.model(None, device);
        }
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
        if let Some(requested) = splits {
            self.check_splits(requested, sizes.vocab)?;
        }
        let file_splits = self.splits()?;
        let config = LmConfig {
            vocab: sizes.vocab,
            emsize: sizes.emsize,
            nhid: sizes.nhid,
            layers: sizes.layers,
            splits: splits.cloned().or(file_splits).unwrap_or_default(),
            widths: sizes.widths,
            ..settings
        };
        let mut model = QrnnLm::seeded(&config, (Kind::Float, device), DEFAULT_SEED)?;
        self.load_into(&mut model)?;
        Ok(model)
    }
}

impl QrnnLm {
    /// Opens a trained model: a weight file, a checkpoint, or a run folder.
    ///
    /// # Errors
    /// As [`SavedModel::open`] and [`SavedModel::model`].
    pub fn open(path: impl AsRef<Path>, device: Device) -> Result<Self> {
        SavedModel::open(path)?.model(None, device)
    }

    /// A model with the weights of a file. Sizes are inferred from the tensors; dropouts and bptt are from
    /// `settings`, as are the splits if the file does not state them.
    ///
    /// # Errors
    /// As [`QrnnLm::open`].
    pub fn from_file(path: impl AsRef<Path>, settings: &LmConfig, device: Device) -> Result<Self> {
        SavedModel::open(path)?.model_as(settings, device)
    }

    /// Replaces all weights by those of a weight file, a checkpoint or a run folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] if the file is damaged or has another vocabulary, or if a tensor
    /// is missing, unexpected or of another shape. The weights are unchanged on error.
    pub fn load_weights(&mut self, path: impl AsRef<Path>) -> Result<()> {
        SavedModel::open(path)?.load_into(self)
    }

    /// Writes all weights, the configuration and the vocabulary to a safetensors file, atomically.
    ///
    /// # Errors
    /// [`Error::Io`]; an existing file is then unchanged.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        tensor_file::write(path.as_ref(), &self.parameters(), metadata(self)?)
    }
}
