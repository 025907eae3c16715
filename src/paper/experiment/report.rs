//! Results of runs that lie in several folders.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::folder::{Folder, read_results};
use super::gather::{self, Heading, Requested};
use super::plan::model_of_length;
use super::run::{FinishedRun, StoredRun};
use super::scale::{Sizes, sizes};
use crate::files::run_folder::CONFIG;
use crate::paper::results::{ReproduceResults, utc};
use crate::{Error, Result, paper};

/// Runs of an experiment, from folders that several processes may have written.
#[derive(Default)]
struct Found {
    finished: Vec<FinishedRun>,
    requested: Requested,
    /// Sizes of runs whose folders were named: each stands for the rows and lengths of these sizes.
    singles: Vec<Sizes>,
    /// The earliest beginning of an experiment.
    started: Option<String>,
}

/// Gathers the runs of folders, each that of an experiment or of a single run, into the results that are stored
/// in `out`. Weights are not needed. A run that several folders have is taken from the first. Results of version 0.1,
/// which kept no runs, are returned as they are.
///
/// # Errors
/// [`Error::BadFile`] for a folder without runs or with a damaged file; [`Error::Mismatch`] if runs have
/// different scales or texts; [`Error::Busy`] if `out` has runs of its own and is not among the folders.
pub fn gather(folders: &[PathBuf], out: &Path, command: &str) -> Result<ReproduceResults> {
    let mut found = Found::default();
    for folder in folders {
        found.add(folder)?;
    }
    if let ([folder], true) = (folders, found.finished.is_empty())
        && !folder.join(CONFIG).exists()
        && let Some(results) = read_results(folder)?.filter(|results| results.format < 2)
    {
        return Ok(results);
    }
    let Some(first) = found.finished.first().cloned() else {
        let names: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(Error::bad_file(
            &folders[0],
            match names.len() {
                1 => "has no finished run".to_owned(),
                _ => format!("has no finished run, and neither have {}", names[1..].join(", ")),
            },
            "finish one with `reproduce --out`, and gather again",
        ));
    };
    let name =
        |run: &FinishedRun| run.folder.as_deref().unwrap_or(Path::new("")).display().to_string();
    for run in &found.finished {
        let remedy = format!("gather it apart from {}", name(&first));
        first.circumstances.check_same(&run.circumstances, &name(run), &remedy)?;
    }
    let own = Folder::open(out)?;
    let is_named = |folder: &PathBuf| folder.canonicalize().ok() == out.canonicalize().ok();
    if !own.names()?.is_empty() && !folders.iter().any(is_named) {
        return Err(Error::busy(
            out.display().to_string(),
            "has runs of its own, which the results would leave out",
            "name it among the folders, or another folder with --out",
        ));
    }
    let scale = &first.circumstances.scale;
    let is_single = |model: &paper::PublishedRow| found.singles.contains(&sizes(scale, model));
    let rows = paper::ROWS.iter().filter(|row| is_single(&row.published));
    let lengths = paper::LENGTHS.into_iter().filter(|length| is_single(&model_of_length(length)));
    let mut requested = found.requested;
    requested.add_models(rows, lengths);
    requested.add_runs(found.finished.iter().map(|run| run.name.clone()));
    let mut circumstances = first.circumstances.clone();
    circumstances.origin.command = command.to_owned();
    let heading = Heading {
        circumstances,
        started: found.started.unwrap_or_else(|| utc(SystemTime::now())),
        folder: Some(out.into()),
    };
    Ok(gather::results(&requested, &found.finished, &heading))
}

impl Found {
    fn add(&mut self, folder: &Path) -> Result<()> {
        if folder.join(CONFIG).exists() {
            match FinishedRun::read(folder)? {
                Some(StoredRun::Finished(run)) => {
                    self.singles.push(run.sizes());
                    self.finished.push(*run);
                }
                Some(StoredRun::Unfinished(name)) => {
                    self.requested.add_runs([name].into_iter());
                }
                None => {}
            }
            return Ok(());
        }
        let experiment = Folder { path: folder.into() };
        let names = experiment.names()?;
        let results = read_results(folder)?;
        if names.is_empty() && results.is_none() {
            return Err(Error::bad_file(
                folder,
                "is neither the folder of a table nor that of a run, and has no compression.json",
                "name a folder that `reproduce` wrote with --out, or one in its `runs`, or one of `reproduce compress`",
            ));
        }
        let (requested, finished) = (experiment.requested()?, experiment.finished()?);
        if requested.rows.is_empty() && requested.lengths.is_empty() {
            // A folder of copied runs, which does not say what they were trained for.
            self.singles.extend(finished.iter().map(FinishedRun::sizes));
        }
        self.requested.include(&requested);
        if let Some(results) = &results {
            let started = &results.started;
            if self.started.as_ref().is_none_or(|earliest| started < earliest) {
                self.started = Some(started.clone());
            }
        }
        self.finished.extend(finished);
        Ok(())
    }
}
