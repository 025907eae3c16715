//! A corpus: three splits of one text as token ids, with their vocabulary.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::ids::Ids;
use super::split::Split;
use super::synthetic::{self, SyntheticConfig};
use super::vocab::Vocab;
use super::{checksum, folder, reader, token_cache, unigram};
use crate::{Error, Result};

/// Three splits of one text as ids, with their joint vocabulary. Clones share the text.
#[derive(Clone)]
pub struct Corpus {
    text: Arc<Text>,
    /// How many training tokens are in use.
    train: usize,
}

struct Text {
    name: String,
    vocab: Arc<Vocab>,
    tokens: [Ids; 3],
    /// The checksum of each split's ids, where it is known.
    checksums: [OnceLock<u64>; 3],
    origin: Origin,
    /// -ln p of each token, where the text comes from a generator that knows it.
    surprisals: Option<[Vec<f32>; 3]>,
}

/// Where a corpus has its ids from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was made in the program.
    Made,
    /// From the text, whose ids were not kept; with the reason.
    Text(String),
    /// From the text, whose ids are kept in this file from now on.
    Kept(PathBuf),
    /// From this file, in which they were kept.
    Cache(PathBuf),
}

impl Corpus {
    /// Opens a data folder: `train.txt`, `valid.txt` and `test.txt`, or `wiki.train.tokens` and
    /// so on.
    ///
    /// The first time, the text is read and its ids are kept: in `tokens.qrnn` beside it, or in
    /// the user's cache folder where that cannot be written to. Later they are mapped from there,
    /// unless the text has changed or the file is not whole: it is then read and kept anew.
    ///
    /// # Errors
    ///
    /// If the folder or a split is missing or cannot be read, or if a file is not UTF-8, has no
    /// words or has fewer than two lines. That the ids could not be kept is no error; see
    /// [`Corpus::origin`].
    pub fn from_dir(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let files = folder::files(path)?;
        let Some(seen) = token_cache::Seen::now(&files) else {
            return Self::from_text(path);
        };
        let places = token_cache::places(path);
        if let Some((kept_in, token_cache::Kept { vocab, tokens, sums })) =
            token_cache::open(&places, &seen)
        {
            let corpus = Self::of_folder(path, vocab, tokens, Origin::Cache(kept_in));
            for (known, sum) in corpus.text.checksums.iter().zip(sums) {
                let _ = known.set(sum);
            }
            return Ok(corpus);
        }
        let (vocab, tokens) = read_all(&files)?;
        let ids = tokens.each_ref().map(Vec::as_slice);
        let origin = match token_cache::keep(&places, &seen, &vocab, ids) {
            Ok(file) => Origin::Kept(file),
            Err(reason) => Origin::Text(reason),
        };
        Ok(Self::of_folder(path, vocab, tokens.map(Ids::Read), origin))
    }

    /// Reads the text of a data folder whatever was kept of it, and keeps nothing.
    ///
    /// # Errors
    ///
    /// As [`Corpus::from_dir`].
    pub fn from_text(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (vocab, tokens) = read_all(&folder::files(path)?)?;
        let origin = Origin::Text("nobody asked to".into());
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
    ///
    /// As [`Corpus::from_dir`]; where the text is not there, the message says what to download.
    pub fn wikitext103(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_dir(folder::wikitext103(path.as_ref())?)
    }

    /// The embedded language at its default seed and size.
    pub fn synthetic() -> Self {
        Self::synthetic_with(&SyntheticConfig::default())
    }

    /// The embedded language at a seed and size of one's own.
    pub fn synthetic_with(config: &SyntheticConfig) -> Self {
        let made = synthetic::generate(config);
        let tokens = made.tokens.map(Ids::Read);
        Self::new("synthetic".into(), made.vocab, tokens, Origin::Made, Some(made.surprisals))
    }

    /// Ids of one's own, for measurements: the word of an id is its number.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where an id is not below `types`.
    pub fn from_ids(name: &str, types: usize, tokens: [Vec<u32>; 3]) -> Result<Self> {
        if let Some(id) = tokens.iter().flatten().find(|id| **id as usize >= types) {
            return Err(Error::usage(
                format!("the ids of {name}"),
                format!("{id} is none of {types} words"),
                "count ids from 0",
            ));
        }
        let mut vocab = Vocab::default();
        for id in 0..types {
            vocab.intern(&id.to_string());
        }
        Ok(Self::new(name.into(), vocab, tokens.map(Ids::Read), Origin::Made, None))
    }

    fn new(
        name: String,
        vocab: Vocab,
        tokens: [Ids; 3],
        origin: Origin,
        surprisals: Option<[Vec<f32>; 3]>,
    ) -> Self {
        let train = tokens[0].len();
        let (vocab, checksums) = (Arc::new(vocab), Default::default());
        let text = Text { name, vocab, tokens, checksums, origin, surprisals };
        Self { train, text: Arc::new(text) }
    }

    /// The name of the data folder, or "synthetic".
    pub fn name(&self) -> &str {
        &self.text.name
    }

    /// Where the ids come from, and where they are kept.
    pub fn origin(&self) -> &Origin {
        &self.text.origin
    }

    /// The words of all three splits.
    pub fn vocab(&self) -> &Vocab {
        &self.text.vocab
    }

    /// The words, to be kept by a model that learns their ids.
    pub(crate) fn shared_vocab(&self) -> Arc<Vocab> {
        self.text.vocab.clone()
    }

    /// A checksum of the ids of a split that are in use: XXH3. Where the ids were kept in a file it
    /// is read there.
    pub fn checksum(&self, split: Split) -> u64 {
        let ids = self.tokens(split);
        match ids.len() == self.text.tokens[split as usize].len() {
            true => *self.text.checksums[split as usize].get_or_init(|| checksum::ids(ids).0),
            false => checksum::ids(ids).0,
        }
    }

    /// The ids of a split, line after line, `<eos>` at the end of each.
    pub fn tokens(&self, split: Split) -> &[u32] {
        &self.text.tokens[split as usize][..self.length(split)]
    }

    /// The ids of a text of one's own: words between spaces.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] naming the first word that is not in the vocabulary.
    pub fn ids(&self, text: &str) -> Result<Vec<i64>> {
        self.vocab().ids(text)
    }

    /// The same corpus with only the first `tokens` training tokens (all, where there are fewer).
    /// The vocabulary stays, so a model keeps its size.
    pub fn take_train(&self, tokens: usize) -> Self {
        Self { text: self.text.clone(), train: tokens.min(self.train) }
    }

    /// The perplexity that no model can beat but by luck: exp of the mean -ln p(token | all past
    /// tokens) with the p that the text was drawn from. The first token, which no model predicts,
    /// is left out. `None` for real text.
    pub fn best_perplexity(&self, split: Split) -> Option<f64> {
        let surprisals = self.surprisals(split)?.get(1..)?;
        let sum: f64 = surprisals.iter().map(|nats| f64::from(*nats)).sum();
        Some((sum / surprisals.len().max(1) as f64).exp())
    }

    /// The perplexity on `split` of a unigram model of the training tokens with one added to each
    /// word's count: what is reached without looking at the context at all.
    pub fn unigram_perplexity(&self, split: Split) -> f64 {
        unigram::perplexity(self.tokens(Split::Train), self.tokens(split), self.vocab().len())
    }

    /// Writes `train.txt`, `valid.txt` and `test.txt` into the folder, which is made if need be.
    /// [`Corpus::from_dir`] gives the same ids again, unless [`Corpus::take_train`] has left out
    /// words or cut a line: that line then ends at the cut, and the ids of the rest are new.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or written to; a file is either whole or as it was before.
    pub fn write_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        for split in Split::ALL {
            folder::write_split(path, split, self.vocab(), self.tokens(split))?;
        }
        Ok(())
    }

    /// -ln p of each token of a split given all before it, in nats; `None` for real text.
    pub(crate) fn surprisals(&self, split: Split) -> Option<&[f32]> {
        let all = self.text.surprisals.as_ref()?;
        Some(&all[split as usize][..self.length(split)])
    }

    fn length(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train,
            _ => self.text.tokens[split as usize].len(),
        }
    }
}

/// Reads the three texts, in the order in which ids are given out.
fn read_all(files: &[PathBuf; 3]) -> Result<(Vocab, [Vec<u32>; 3])> {
    let mut vocab = Vocab::default();
    let mut tokens = [Vec::new(), Vec::new(), Vec::new()];
    for (ids, file) in tokens.iter_mut().zip(files) {
        *ids = reader::split(file, &mut vocab)?;
    }
    Ok((vocab, tokens))
}

impl fmt::Display for Corpus {
    /// One line: the name, the number of words and the tokens of each split.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} words", self.name(), self.vocab().len())?;
        for split in Split::ALL {
            write!(f, ", {split} {} tokens", self.tokens(split).len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Corpus {
    /// The sizes alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Corpus({self})")
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
