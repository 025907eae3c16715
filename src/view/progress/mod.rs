//! Shows progress in notebooks and terminals, and wraps the library's long functions with that display.

mod compression;
mod live_figure;
mod live_line;
mod live_table;
mod live_training;
mod notebook;
mod smooth_loss;
mod terminal;

use std::path::PathBuf;

use live_figure::LiveFigure;
pub use notebook::Notebook;
pub use terminal::Terminal;

use crate::Result;
use crate::data::download::{Dataset, Fetch};
use crate::data::{Corpus, Split};
use crate::evaluate::neural_cache::{
    CacheSearch, CachedEvaluation, NeuralCache, evaluate_split_with,
};
use crate::evaluate::{EvalOptions, Evaluation, evaluate_split};
use crate::generate::{Generated, Sampling, generate_text};
use crate::model::{QrnnLm, check_vocabulary};
use crate::paper::experiment::Experiment;
use crate::paper::results::ReproduceResults;
use crate::progress::Progress;
use crate::train::{Trainer, TrainingRun};

/// Progress for the environment of this process: a notebook of the qrnn kernel, a terminal, or plain lines.
pub fn here() -> Box<dyn Progress> {
    match Notebook::here() {
        Some(notebook) => Box::new(notebook),
        None => Box::new(Terminal::default()),
    }
}

/// Evaluates a model as awd-lstm-lm does: batch size 10 for validation and 1 for test, sequences of the
/// configured bptt, with a zero initial state that is passed from sequence to sequence.
///
/// # Errors
/// As [`evaluate_split`].
pub fn evaluate(model: &QrnnLm, corpus: &Corpus, split: Split) -> Result<Evaluation> {
    let options = EvalOptions::original(split, model.config().bptt);
    evaluate_split(model, corpus, split, &options, &mut *here())
}

/// Evaluates a model with a neural cache: in one batch column, the whole text in order, with a cache that is
/// empty at its beginning.
///
/// # Errors
/// As [`evaluate_split_with`].
pub fn evaluate_with(
    model: &QrnnLm,
    corpus: &Corpus,
    split: Split,
    cache: &NeuralCache,
) -> Result<CachedEvaluation> {
    let options = EvalOptions::one_column(model.config().bptt);
    evaluate_split_with(model, corpus, split, cache, &options, &mut *here())
}

impl NeuralCache {
    /// [`NeuralCache::search_with`] in one batch column, with progress shown by [`here`].
    ///
    /// # Errors
    /// As [`NeuralCache::search_with`].
    pub fn search(model: &QrnnLm, corpus: &Corpus, size: usize) -> Result<CacheSearch> {
        let options = EvalOptions::one_column(model.config().bptt);
        Self::search_with(model, corpus, size, &options, &mut *here())
    }
}

/// Continues `prompt`, words separated by spaces; starts a new text if it is empty.
///
/// # Errors
/// As [`generate_text`]; [`crate::Error::Mismatch`] if the vocabularies of corpus and model differ.
pub fn generate(
    model: &QrnnLm,
    corpus: &Corpus,
    prompt: &str,
    sampling: &Sampling,
) -> Result<Generated> {
    check_vocabulary(model, corpus)?;
    generate_text(model, corpus.vocab(), prompt, sampling, &mut *here())
}

impl Corpus {
    /// Reads WikiText-103 from the folder `wikitext-103` in `path`. Downloads it first if it is missing or
    /// incomplete (up to 320 MB, and about 550 MB as text); continues an interrupted download.
    ///
    /// # Errors
    /// As [`Corpus::from_dir`] and [`Fetch::run`].
    pub fn fetch_wikitext103(path: impl Into<PathBuf>) -> Result<Self> {
        let fetch = Fetch::new(Dataset::named("wikitext-103")?, path);
        Self::from_dir(fetch.run(&mut *here())?.path)
    }
}

impl Trainer {
    /// [`Trainer::fit_with`] with progress shown by [`here`].
    ///
    /// # Errors
    /// As [`Trainer::fit_with`].
    pub fn fit(&self, model: &mut QrnnLm, corpus: &Corpus) -> Result<TrainingRun> {
        self.fit_with(model, corpus, &mut *here())
    }
}

impl Experiment {
    /// [`Experiment::run_with`] with progress shown by [`here`]. In a notebook the figures are drawn below it after
    /// each run. If the experiment has a folder, results.json, report.html and the plots are written there then.
    ///
    /// # Errors
    /// As [`Experiment::run_with`] and [`ReproduceResults::save`].
    pub fn run(&self, corpus: &Corpus) -> Result<ReproduceResults> {
        let mut figure = LiveFigure::here();
        let results = self.run_with(corpus, &mut *here(), &mut |results| {
            figure.show(results);
            match &self.folder {
                Some(folder) => results.save(folder),
                None => Ok(()),
            }
        })?;
        if let Some(folder) = &self.folder {
            results.save(folder)?; // says whether it was interrupted
        }
        Ok(results)
    }
}
