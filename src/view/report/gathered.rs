//! A report of folders, those of tables and of compressed models.

use std::path::{Path, PathBuf};

use qrnn_ops::atomic_file;
use serde_json::{Value, json};

use super::{compression, page};
use crate::files::run_folder::COMPRESSION;
use crate::paper::compression::CompressionResults;
use crate::paper::experiment::gather_folders;
use crate::paper::results::ReproduceResults;
use crate::view::plot;
use crate::{Error, Result};

/// The results of folders: of tables gathered into one, and of compressed models.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// `None` if all folders are of compressed models.
    pub results: Option<ReproduceResults>,
    pub compressions: Vec<CompressionResults>,
    /// Command line that writes the report again.
    command: String,
}

impl Report {
    /// The folder of a report that is given none: the first of a table, else the first.
    pub fn folder_among(folders: &[PathBuf]) -> Option<&PathBuf> {
        folders.iter().find(|folder| !is_compressed(folder)).or(folders.first())
    }

    /// Reads folders: those with a compression.json are of compressed models, the others of tables and their runs.
    ///
    /// * `out`: the folder of the report.
    ///
    /// # Errors
    /// As [`CompressionResults::read`] and [`gather_folders`].
    pub fn read(folders: &[PathBuf], out: &Path, command: &str) -> Result<Self> {
        let (compressed, tables): (Vec<&PathBuf>, Vec<&PathBuf>) =
            folders.iter().partition(|folder| is_compressed(folder));
        let tables: Vec<PathBuf> = tables.into_iter().cloned().collect();
        let results = match tables.is_empty() {
            true => None,
            false => Some(gather_folders(&tables, out, command)?),
        };
        let mut compressions: Vec<CompressionResults> = vec![];
        for folder in compressed {
            let compression = CompressionResults::read(folder)?;
            if !compressions.contains(&compression) {
                compressions.push(compression);
            }
        }
        Ok(Self { results, compressions, command: command.to_owned() })
    }

    /// Renders the report as one self-contained HTML document.
    pub fn to_html(&self) -> String {
        match &self.results {
            Some(results) => page::html(results, &compression::sections(&self.compressions)),
            None => compression::page(&self.compressions, &self.command),
        }
    }

    /// Formats the results as text tables.
    pub fn to_text(&self) -> String {
        let tables = self.results.iter().map(ReproduceResults::to_text);
        let compressions = self.compressions.iter().map(|run| match run.name.as_str() {
            "" => run.to_string(),
            name => format!("{name}\n{run}"),
        });
        tables.chain(compressions).collect::<Vec<_>>().join("\n\n")
    }

    /// The results of the tables, with the compressed models as `compressions` if there are any.
    pub fn to_json(&self) -> Value {
        let mut json = self.results.as_ref().map_or_else(|| json!({}), |results| json!(results));
        if !self.compressions.is_empty() {
            json["compressions"] = json!(self.compressions);
        }
        json
    }

    /// Paths of the files that [`Report::save`] writes to a folder.
    pub fn files(&self, folder: impl AsRef<Path>) -> Vec<PathBuf> {
        let folder = folder.as_ref();
        let mut files = match &self.results {
            Some(results) => results.files(folder),
            None => vec![folder.join("report.html")],
        };
        if !self.compressions.is_empty() {
            let plots = ["svg", "png"].map(|kind| format!("perplexity_vs_score.{kind}"));
            files.extend(plots.map(|name| folder.join(name)));
        }
        files
    }

    /// Writes report.html and the plots to an existing folder, and results.json if there are results of a table.
    ///
    /// # Errors
    /// As [`ReproduceResults::save`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        if let Some(results) = &self.results {
            results.save(folder)?;
        }
        let path = folder.join("report.html");
        let page = self.to_html();
        atomic_file::write(&path, page.as_bytes()).map_err(Error::io(path, "write"))?;
        if !self.compressions.is_empty() {
            let plot = plot::perplexity_vs_score(&self.compressions);
            plot.save(folder, plot.name())?;
        }
        Ok(())
    }
}

/// Whether a folder is that of a compressed model.
fn is_compressed(folder: &Path) -> bool {
    folder.join(COMPRESSION).exists()
}
