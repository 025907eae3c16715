//! Compressed models in a report.

use std::path::{Path, PathBuf};

use maud::{Markup, html};

use super::page::{document, figure};
use crate::Result;
use crate::format::perplexity;
use crate::paper::compression::CompressionResults;
use crate::view::html::table_of_rows;
use crate::view::plot;
use crate::view::show::compression::{stages, tensors};

impl CompressionResults {
    /// Writes perplexity_vs_score.svg and perplexity_vs_score.png to an existing folder, and returns their paths.
    ///
    /// # Errors
    /// As [`Plot::save`](crate::view::plot::Plot::save).
    pub fn save_plot(&self, folder: impl AsRef<Path>) -> Result<[PathBuf; 2]> {
        let plot = plot::perplexity_vs_score(self);
        plot.save(folder, plot.name())
    }
}

/// A section of each compressed model, and a plot of all if there are several.
pub(super) fn sections(runs: &[CompressionResults]) -> Markup {
    html! {
        @for run in runs { (section(run)) }
        @if runs.len() > 1 {
            h2 { "All compressed models" }
            (figure(&plot::perplexity_vs_score(runs)))
        }
    }
}

fn section(run: &CompressionResults) -> Markup {
    // An interrupted run ends with the score of another model than that of its tensors.
    let whole = run.stages.last().filter(|_| !run.interrupted).map(|stage| stage.score);
    html! {
        h2 { "Compression" @if !run.name.is_empty() { ": " (run.name) } }
        p class="quiet" {
            "Each stage was measured and counted here, by the rules of the MicroNet Challenge 2019. "
            @if let Some(corpus) = &run.corpus {
                "Perplexities are of the corpus " (corpus.name) ": a unigram model has "
                (perplexity(corpus.unigram_test_ppl)) " on the test text"
                @if let Some(best) = corpus.best_test_ppl {
                    ", and the best possible is " (perplexity(best))
                }
                ". "
            }
            "Published scores are of models of WikiText-103, and have an axis without a perplexity."
        }
        div class="wide" { (stages(run)) }
        @if !run.stages.is_empty() { (figure(&plot::perplexity_vs_score(run))) }
        @if !run.tensors.is_empty() {
            h2 { "Tensors" @if !run.name.is_empty() { " of " (run.name) } }
            div class="wide" { (table_of_rows(&tensors(&run.tensors, whole), "total")) }
        }
    }
}

/// A page of compressed models alone.
pub(super) fn page(runs: &[CompressionResults], command: &str) -> String {
    let content = html! {
        h1 { "Compressed QRNN language models" }
        p {
            "A compressed model stores fewer weights, each in fewer bits, so that its score in the MicroNet Challenge \
             falls. This page has the stages of each model in the order in which they were made."
        }
        (sections(runs))
        h2 { "Run it again" }
        pre { (command) }
        footer {
            "Written by qrnn " (env!("CARGO_PKG_VERSION")) ". The same data are in compression.json in the folder of \
             each model."
        }
    };
    document("QRNN language model, compressed", &content)
}
