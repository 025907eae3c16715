//! Compression with progress shown here.

use super::here;
use crate::compress::CompressedLm;
use crate::data::Corpus;
use crate::interrupt::Interrupt;
use crate::model::QrnnLm;
use crate::paper::compression::{CompressionResults, CompressionStudy, Stage};
use crate::paper::operation_counts::OpCounter;
use crate::train::Compressor;
use crate::{Error, Result};

impl Compressor {
    /// [`Compressor::fit_with`] with progress shown by [`here`]. An interrupted run returns the compressed model of its
    /// best epoch so far.
    ///
    /// # Errors
    /// As [`Compressor::fit_with`]; [`Error::Interrupted`] if the run was interrupted before an epoch had all zeros.
    pub fn fit(&self, model: &mut QrnnLm, corpus: &Corpus) -> Result<CompressedLm> {
        let (run, compressed) = self.fit_with(model, corpus, &mut *here())?;
        compressed.ok_or_else(|| Error::Interrupted {
            saved: format!("the model has the weights after {} steps", run.losses.len()),
        })
    }
}

impl CompressionStudy {
    /// [`CompressionStudy::run_with`] with progress shown by [`here`]. If the study has a folder, the plot of
    /// perplexity against score is written there beside compression.json.
    ///
    /// # Errors
    /// As [`CompressionStudy::run_with`] and [`CompressionResults::save_plot`].
    pub fn run(&self, model: &mut QrnnLm, corpus: &Corpus) -> Result<CompressionResults> {
        let results = self.run_with(model, corpus, &mut *here())?;
        if let (Some(folder), false) = (&self.folder, results.interrupted) {
            results.save_plot(folder)?;
        }
        Ok(results)
    }
}

impl Stage {
    /// Measures a model that is not compressed: its perplexities, with progress shown by [`here`], and what it takes by
    /// the rules of the challenge.
    ///
    /// # Errors
    /// As [`evaluate_split`](crate::evaluate::evaluate_split); [`Error::Interrupted`].
    pub fn of(model: &QrnnLm, corpus: &Corpus) -> Result<Self> {
        let table = OpCounter::rules().count(model.config())?;
        let name = Self::name_of(model.config());
        let interrupt = Interrupt::default();
        Self::measure(name, model, corpus, &table, &interrupt, &mut *here())?
            .ok_or_else(|| Error::Interrupted { saved: "nothing was measured".into() })
    }
}
