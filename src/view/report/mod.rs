//! The report of an experiment: `report.html`, text tables for a terminal, and `results.json`. A [`Report`] has
//! compressed models beside it, or alone.

pub(crate) mod comparison;
mod compression;
mod gathered;
mod page;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use comparison::{Comparison, DIFFERENCES, INTERRUPTED, differences};
pub use gathered::Report;
use maud::html;
use qrnn_ops::atomic_file;

use crate::format::{aligned, perplexity};
use crate::paper;
use crate::paper::results::{Measured, ReproduceResults};
use crate::view::plot::{self, Plot};
use crate::{Error, Result};

/// A list of missing runs names so many.
const LISTED: usize = 4;

impl ReproduceResults {
    /// Plots test perplexity against parameters.
    pub fn parameters_plot(&self) -> Plot {
        self.describe_measured(plot::perplexity_vs_parameters(self.measured_rows()))
    }

    /// Plots test perplexity against sequence length.
    pub fn lengths_plot(&self) -> Plot {
        self.describe_measured(plot::perplexity_vs_bptt(self.measured_lengths()))
    }

    /// [`ReproduceResults::parameters_plot`], if it shows a measured perplexity.
    pub(crate) fn parameters_figure(&self) -> Option<Plot> {
        self.measured_rows().any(is_tested).then(|| self.parameters_plot())
    }

    /// [`ReproduceResults::lengths_plot`], if it shows a measured perplexity.
    pub(crate) fn lengths_figure(&self) -> Option<Plot> {
        self.measured_lengths().any(is_tested).then(|| self.lengths_plot())
    }

    fn describe_measured(&self, plot: Plot) -> Plot {
        let plot = plot.measured_on(format!("{}, {}", self.corpus.name, self.scale.note));
        match self.corpus.best_test_ppl {
            Some(best) => plot.best_possible(best),
            None => plot,
        }
    }

    /// Encodes the results as indented JSON.
    ///
    /// # Errors
    /// [`Error::Io`] if encoding fails, which valid results do not cause.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map(|json| json + "\n")
            .map_err(|e| Error::io("results.json", "encode")(e.into()))
    }

    /// Renders the report as one self-contained HTML document.
    pub fn to_html(&self) -> String {
        page::html(self, &html! {})
    }

    /// Formats the results as text tables.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (title, table) in self.comparisons() {
            text += &format!("{title}\n{}\n", aligned(&table.rows));
        }
        text += &format!(
            "{}\n{}.\n(60) is assumed where no batch size was published; published perplexities by \
             length are read from a chart by eye, ±{}.",
            self.summary(),
            self.scale.recipe,
            paper::LENGTHS_TOLERANCE
        );
        if !self.differences.is_empty() {
            text += &format!("\n\n{DIFFERENCES}\n{}", aligned(&differences(self)).trim_end());
        }
        if let Some(missing) = self.what_is_missing() {
            text = text + "\n" + &missing;
        }
        text
    }

    /// The tables that are not empty, with their titles.
    pub(crate) fn comparisons(&self) -> impl Iterator<Item = (String, Comparison)> {
        let tables = [Comparison::of_rows(self), Comparison::of_lengths(self)].into_iter();
        tables.filter(|table| !table.is_empty()).map(|table| {
            let measured = format!("Measured: {}, {}", self.scale.name, self.corpus.name);
            (format!("{} | {measured}", table.title), table)
        })
    }

    /// What was measured, and the bounds of its perplexity.
    pub(crate) fn summary(&self) -> String {
        let (scale, corpus) = (&self.scale, &self.corpus);
        let best = corpus.best_test_ppl.map(perplexity);
        let best = best.map_or_else(String::new, |best| format!(", best possible {best}"));
        let mut text = format!(
            "Measured: {}, {}; {}. Test perplexity: unigram model {}{best}.",
            scale.name,
            corpus.name,
            scale.note,
            perplexity(corpus.unigram_test_ppl)
        );
        if self.has_interrupted_runs() {
            text = text + " " + INTERRUPTED;
        }
        text
    }

    fn has_interrupted_runs(&self) -> bool {
        self.measured_rows().chain(self.measured_lengths()).any(|run| run.interrupted)
    }

    /// Which runs have no result, and how to train them.
    pub(crate) fn what_is_missing(&self) -> Option<String> {
        let (first, others) = self.missing.split_first()?;
        let runs = match others.len() {
            0 => format!("the run {first} is"),
            n if n < LISTED => format!("the runs {first}, {} are", others.join(", ")),
            n => format!("{} runs ({first}, {} and others) are", n + 1, others[0]),
        };
        let why = if self.interrupted { "Interrupted" } else { "Not finished" };
        let remedy = match self.is_stored() {
            true => "The same command in the same folder goes on with them.",
            false => "Nothing was kept: with a folder, an experiment goes on where it was.",
        };
        Some(format!("{why}: {runs} missing. {remedy}"))
    }

    /// Whether the runs have folders; unknown before the first is finished.
    fn is_stored(&self) -> bool {
        let mut runs =
            self.measured_rows().chain(self.measured_lengths()).flat_map(|row| &row.runs);
        runs.next().is_none_or(|run| run.folder.is_some())
    }

    /// Paths of the files that [`ReproduceResults::save`] writes to a folder.
    pub fn files(&self, folder: impl AsRef<Path>) -> Vec<PathBuf> {
        let plots = self.figures().flat_map(|plot| {
            ["svg", "png"].map(|extension| format!("{}.{extension}", plot.name()))
        });
        let tables = ["results.json", "report.html"].map(str::to_owned);
        tables.into_iter().chain(plots).map(|name| folder.as_ref().join(name)).collect()
    }

    /// The plots that show a measured perplexity.
    fn figures(&self) -> impl Iterator<Item = Plot> {
        [self.parameters_figure(), self.lengths_figure()].into_iter().flatten()
    }

    /// Writes `results.json`, `report.html` and the plots as SVG and PNG to an existing folder. A plot without a
    /// measured perplexity is not written.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be written; [`Error::Plot`] if a plot cannot be rendered.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            atomic_file::write(&path, text.as_bytes()).map_err(Error::io(path, "write"))
        };
        write("results.json", self.to_json()?)?;
        write("report.html", self.to_html())?;
        self.figures().try_for_each(|plot| plot.save(folder, plot.name()).map(drop))
    }
}

/// Whether a run has a test perplexity, which an interrupted one lacks.
fn is_tested(run: &Measured) -> bool {
    !run.test_ppl.is_nan()
}
