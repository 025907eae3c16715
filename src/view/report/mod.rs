//! The report of an experiment: `report.html`, text tables for a terminal, and `results.json`.

mod page;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use qrnn_ops::atomic_file;

use crate::paper::results::{Measured, ReproduceResults};
use crate::view::plot::{self, Plot};
use crate::{Error, Result};

impl ReproduceResults {
    /// Plots test perplexity against parameters.
    pub fn parameters_plot(&self) -> Plot {
        let runs: Vec<Measured> = self.measured_rows().cloned().collect();
        self.describe_measured(plot::perplexity_vs_parameters(&runs))
    }

    /// Plots test perplexity against sequence length.
    pub fn lengths_plot(&self) -> Plot {
        let runs: Vec<Measured> = self.measured_lengths().cloned().collect();
        self.describe_measured(plot::perplexity_vs_bptt(&runs))
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
        page::html(self)
    }

    /// Formats the results as text tables.
    pub fn to_text(&self) -> String {
        text::tables(self)
    }

    /// Writes `results.json`, `report.html` and both plots as SVG and PNG to an existing folder, and returns
    /// their paths.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be written; [`Error::Plot`] if a plot cannot be rendered.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        let folder = folder.as_ref();
        let mut paths = vec![folder.join("results.json"), folder.join("report.html")];
        let write = |path: &PathBuf, text: String| {
            atomic_file::write(path, text.as_bytes()).map_err(Error::io(path, "write"))
        };
        write(&paths[0], self.to_json()?)?;
        write(&paths[1], self.to_html())?;
        for plot in [self.parameters_plot(), self.lengths_plot()] {
            paths.extend(plot.save(folder, plot.name())?);
        }
        Ok(paths)
    }
}
