//! A corpus: three splits as token ids, and their vocabulary.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::SplitFiles;
use super::id_order::{self, IdOrder};
use super::ids::Ids;
use super::split::Split;
use super::synthetic::{self, SyntheticConfig};
use super::vocab::Vocab;
use super::{checksum, folder, parquet, reader, token_cache, unigram};
use crate::format::thousands;
use crate::{Error, Result};

/// Three splits as token ids, with their common vocabulary. Clones share the tokens.
#[derive(Clone)]
pub struct Corpus {
    text: Arc<Text>,
    /// Number of training tokens in use.
    train: usize,
}

struct Text {
    name: String,
    vocab: Arc<Vocab>,
    tokens: [Ids; 3],
    order: IdOrder,
    origin: Origin,
    /// -ln p of each token in nats, for text from a generator.
    surprisals: Option<[Vec<f32>; 3]>,
}

/// The source of a corpus's token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Generated in memory.
    Generated,
    /// Read from the text. The ids were not cached, for this reason.
    Text(String),
    /// Read from the text. The ids were then cached in this file.
    NewCache(PathBuf),
    /// Read from this cache file.
    Cache(PathBuf),
}

impl Corpus {
    /// Opens a data folder: `train.txt`, `valid.txt` and `test.txt`, or `wiki.train.tokens` and
    /// so on, or Parquet files as Hugging Face distributes WikiText-103: `train-*.parquet`,
    /// `validation-*.parquet` and `test-*.parquet`, in the folder or in `wikitext-103-v1` in it.
    ///
    /// Texts take precedence. The Parquet files have a column `text` of strings; each row is a line, and an
    /// empty row is the blank line, a space and a line feed. A row without a line feed gets one.
    ///
    /// The first call tokenizes the text and caches the ids in `tokens.qrnn` in the folder, or in
    /// the user's cache folder if the data folder is not writable. Later calls memory-map the cache,
    /// unless the text has changed or the cache is damaged; they then write a new one.
    ///
    /// # Errors
    /// If the folder or a split is missing or cannot be read, or if a file is not UTF-8, has no
    /// words or has fewer than two lines; if a Parquet file is damaged, is one of a set with gaps, or has
    /// no column `text` or nulls in it. A failure to write the cache is not an error; see
    /// [`Corpus::origin`].
    pub fn from_dir(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let files = folder::files(path)?;
        let Some(sources) = token_cache::Sources::now(&files) else {
            return Self::from_text(path);
        };
        let cache_paths = token_cache::paths(path);
        if let Some((cache, vocab, tokens)) = token_cache::open(&cache_paths, &sources) {
            return Ok(Self::of_folder(path, vocab, tokens, Origin::Cache(cache)));
        }
        let (vocab, tokens) = read_all(&files)?;
        let ids = tokens.each_ref().map(Vec::as_slice);
        let origin = match token_cache::store(&cache_paths, &sources, &vocab, ids) {
            Ok(file) => Origin::NewCache(file),
            Err(reason) => Origin::Text(reason),
        };
        Ok(Self::of_folder(path, vocab, tokens.map(Ids::Read), origin))
    }

    /// Reads the text of a data folder without reading or writing the token cache.
    ///
    /// # Errors
    /// As [`Corpus::from_dir`].
    pub fn from_text(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (vocab, tokens) = read_all(&folder::files(path)?)?;
        let origin = Origin::Text("the cache is disabled".into());
        Ok(Self::of_folder(path, vocab, tokens.map(Ids::Read), origin))
    }

    fn of_folder(path: &Path, vocab: Vocab, tokens: [Ids; 3], origin: Origin) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name = name.to_string_lossy().into_owned();
        Self::new(name, vocab, tokens, origin, None)
    }

    /// Reads WikiText-103 from `path`, or from the folder `wikitext-103` in it.
    ///
    /// # Errors
    /// As [`Corpus::from_dir`]; if the text is missing, the message says what to download.
    pub fn wikitext103(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_dir(folder::wikitext103(path.as_ref())?)
    }

    /// The embedded synthetic language with its default seed and size.
    pub fn synthetic() -> Self {
        Self::synthetic_with(&SyntheticConfig::default())
    }

    /// The embedded synthetic language with the given seed and size.
    pub fn synthetic_with(config: &SyntheticConfig) -> Self {
        let generated = synthetic::generate(config);
        let tokens = generated.tokens.map(Ids::Read);
        let surprisals = Some(generated.surprisals);
        Self::new("synthetic".into(), generated.vocab, tokens, Origin::Generated, surprisals)
    }

    /// A corpus of the given token ids, for benchmarks. The word of each id is its decimal form.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if an id is not below `types`, the vocabulary size.
    pub fn from_ids(name: &str, types: usize, tokens: [Vec<u32>; 3]) -> Result<Self> {
        if let Some(id) = tokens.iter().flatten().find(|id| **id as usize >= types) {
            return Err(Error::mismatch(
                format!("the ids of {name}"),
                format!("contain {id}, which is outside the vocabulary of {types} words"),
                "use ids from 0 to the vocabulary size minus 1",
            ));
        }
        let mut vocab = Vocab::default();
        for id in 0..types {
            vocab.intern(&id.to_string());
        }
        Ok(Self::new(name.into(), vocab, tokens.map(Ids::Read), Origin::Generated, None))
    }

    /// A corpus of another process: its vocabulary as [`Vocab::joined`] gives it, and its ids. `None` if that is no
    /// vocabulary, or lacks one of the ids.
    pub(crate) fn from_parts(
        name: &str,
        words: &str,
        tokens: [Vec<u32>; 3],
        order: IdOrder,
    ) -> Option<Self> {
        let vocab = Vocab::from_joined(words)?;
        if tokens.iter().flatten().any(|id| *id as usize >= vocab.len()) {
            return None;
        }
        let train = tokens[0].len();
        let (vocab, tokens) = (Arc::new(vocab), tokens.map(Ids::Read));
        let origin = Origin::Text("another process sent it".into());
        let text = Text { name: name.into(), vocab, tokens, order, origin, surprisals: None };
        Some(Self { text: Arc::new(text), train })
    }

    fn new(
        name: String,
        vocab: Vocab,
        tokens: [Ids; 3],
        origin: Origin,
        surprisals: Option<[Vec<f32>; 3]>,
    ) -> Self {
        let train = tokens[0].len();
        let (vocab, order) = (Arc::new(vocab), IdOrder::FirstAppearance);
        let text = Text { name, vocab, tokens, order, origin, surprisals };
        Self { train, text: Arc::new(text) }
    }

    /// The name of the data folder, or `synthetic`.
    pub fn name(&self) -> &str {
        &self.text.name
    }

    /// The source of the token ids, and their cache file.
    pub fn origin(&self) -> &Origin {
        &self.text.origin
    }

    /// The vocabulary of all three splits.
    pub fn vocab(&self) -> &Vocab {
        &self.text.vocab
    }

    /// The vocabulary, to be stored by a model.
    pub(crate) fn shared_vocab(&self) -> Arc<Vocab> {
        self.text.vocab.clone()
    }

    /// XXH3 checksum of the tokens in use of a split.
    pub fn checksum(&self, split: Split) -> u64 {
        checksum::ids(self.tokens(split)).0
    }

    /// The token ids of a split, with `<eos>` at the end of each line.
    pub fn tokens(&self, split: Split) -> &[u32] {
        let tokens = &self.text.tokens[split as usize];
        if split == Split::Train { &tokens[..self.train] } else { tokens }
    }

    /// The corpus with only the first `tokens` training tokens. The vocabulary, and so the size of a
    /// model, is unchanged.
    pub fn take_train(&self, tokens: usize) -> Self {
        Self { text: self.text.clone(), train: tokens.min(self.train) }
    }

    /// The same text with ids by descending frequency in the training text, as the clusters of an adaptive embedding
    /// need it ([`crate::model::LmConfig::widths`]). Equally frequent words keep their order, so that words that
    /// the training text lacks come last.
    ///
    /// All training tokens count, also those that [`Corpus::take_train`] has removed.
    pub fn by_frequency(&self) -> Self {
        let Text { name, vocab, tokens, order, origin, surprisals } = &*self.text;
        if *order == IdOrder::Frequency {
            return self.clone();
        }
        let order = id_order::by_frequency(&tokens[Split::Train as usize], vocab.len());
        let text = Text {
            name: name.clone(),
            vocab: Arc::new(vocab.renumbered(&order)),
            tokens: tokens.each_ref().map(|ids| Ids::Read(id_order::renumbered(ids, &order))),
            order: IdOrder::Frequency,
            origin: origin.clone(),
            surprisals: surprisals.clone(),
        };
        Self { text: Arc::new(text), train: self.train }
    }

    /// The same text with ids in this order. Ids by frequency stay as they are.
    pub fn in_order(&self, order: IdOrder) -> Self {
        match order {
            IdOrder::FirstAppearance => self.clone(),
            IdOrder::Frequency => self.by_frequency(),
        }
    }

    /// The order of the token ids.
    pub fn ids(&self) -> IdOrder {
        self.text.order
    }

    /// The best possible perplexity in expectation: exp of the mean -ln p(token | all past tokens)
    /// under the distribution that the text was sampled from, without the first token. `None` for
    /// real text.
    pub fn best_perplexity(&self, split: Split) -> Option<f64> {
        let all = &self.text.surprisals.as_ref()?[split as usize];
        let surprisals = all.get(1..self.tokens(split).len())?;
        let sum: f64 = surprisals.iter().map(|nats| f64::from(*nats)).sum();
        Some((sum / surprisals.len().max(1) as f64).exp())
    }

    /// The perplexity on `split` of a unigram model of the training tokens with add-one smoothing: a
    /// baseline that ignores the context.
    pub fn unigram_perplexity(&self, split: Split) -> f64 {
        unigram::perplexity(self.tokens(Split::Train), self.tokens(split), self.vocab().len())
    }

    /// Writes `train.txt`, `valid.txt` and `test.txt` into the folder, and creates it if missing.
    /// [`Corpus::from_dir`] reads the same ids back, unless they are by frequency or [`Corpus::take_train`] has
    /// removed all occurrences of a word or truncated a line.
    ///
    /// # Errors
    /// If the folder cannot be created or written to. Each file is replaced atomically.
    pub fn write_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        for split in Split::ALL {
            folder::write_split(path, split, self.vocab(), self.tokens(split))?;
        }
        Ok(())
    }
}

/// Tokenizes the three texts. Ids are assigned in this order.
fn read_all(files: &[SplitFiles; 3]) -> Result<(Vocab, [Vec<u32>; 3])> {
    let mut vocab = Vocab::default();
    let mut tokens = [Vec::new(), Vec::new(), Vec::new()];
    for (ids, file) in tokens.iter_mut().zip(files) {
        *ids = match file {
            SplitFiles::Text(path) => reader::text(path, &mut vocab, 2)?,
            SplitFiles::Parquet(paths) => parquet::tokenize(paths, &mut vocab, 2)?,
        };
    }
    Ok((vocab, tokens))
}

impl fmt::Display for Corpus {
    /// One line: the name, the vocabulary size and the tokens of each split.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |n: usize| thousands(n as u64);
        write!(f, "{}: vocabulary of {} words", self.name(), count(self.vocab().len()))?;
        for split in Split::ALL {
            write!(f, ", {split} {} tokens", count(self.tokens(split).len()))?;
        }
        match self.ids() {
            IdOrder::FirstAppearance => Ok(()),
            order => write!(f, ", ids {}", order.in_words()),
        }
    }
}

impl fmt::Debug for Corpus {
    /// Sizes only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Corpus({self})")
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
