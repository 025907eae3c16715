//! The report of an experiment: a page (`report.html`), the terminal's tables, and `results.json`.

mod page;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use qrnn_ops::atomic_file;

use crate::paper::results::{Measured, ReproduceResults};
use crate::view::plot::{self, Plot, Point};
use crate::{Error, Result};

impl From<&Measured> for Point {
    fn from(run: &Measured) -> Self {
        Self {
            emsize: run.emsize,
            nhid: run.nhid,
            bptt: run.bptt,
            parameters: run.parameters,
            perplexity: run.test_ppl,
        }
    }
}

impl ReproduceResults {
    /// Test perplexity against parameters.
    pub fn parameters_plot(&self) -> Plot {
        let runs: Vec<Measured> = self.rows.iter().filter_map(|row| row.measured.clone()).collect();
        self.noted(plot::perplexity_vs_parameters(&runs))
    }

    /// Test perplexity against sequence length.
    pub fn lengths_plot(&self) -> Plot {
        let runs: Vec<Measured> =
            self.lengths.iter().filter_map(|length| length.measured.clone()).collect();
        self.noted(plot::perplexity_vs_bptt(&runs))
    }

    fn noted(&self, plot: Plot) -> Plot {
        let plot = plot.measured_on(format!("{}, {}", self.corpus.name, self.scale.note));
        match self.corpus.best_test_ppl {
            Some(best) => plot.best_possible(best),
            None => plot,
        }
    }

    /// The data as indented JSON.
    ///
    /// # Errors
    /// None that the fields could cause; the encoder may still refuse.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map(|json| json + "\n")
            .map_err(|e| Error::io("results.json", "encode")(e.into()))
    }

    /// The page: one HTML document that needs nothing else.
    ///
    /// # Errors
    /// [`Error::Plot`] where a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String> {
        page::html(self)
    }

    /// The result tables for a terminal.
    pub fn to_text(&self) -> String {
        text::tables(self)
    }

    /// Writes `results.json`, `report.html` and both plots as SVG and PNG into a folder that
    /// exists, and gives the paths.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder or disk refuses, [`Error::Plot`] where drawing fails.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        let folder = folder.as_ref();
        let mut paths = vec![folder.join("results.json"), folder.join("report.html")];
        let bytes = self.to_json()?;
        atomic_file::write(&paths[0], bytes.as_bytes()).map_err(Error::io(&paths[0], "write"))?;
        for plot in [self.parameters_plot(), self.lengths_plot()] {
            paths.extend(plot.save(folder, plot.name())?);
        }
        let bytes = self.to_html()?;
        atomic_file::write(&paths[1], bytes.as_bytes()).map_err(Error::io(&paths[1], "write"))?;
        Ok(paths)
    }
}
