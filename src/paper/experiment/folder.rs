//! The folder of an experiment: results.json, the report, and a folder for each run.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::gather::{Request, Requested};
use super::plan::Job;
use super::run::{Circumstances, FinishedRun, StoredRun};
use qrnn_ops::atomic_file;
use twox_hash::XxHash3_64;

use crate::files::run_folder::RESULTS;
use crate::paper::results::{FORMAT, ReproduceResults};
use crate::train::{Claimed, RunDir, in_use};
use crate::{Error, Result, json};

/// The folder of the runs, in that of the experiment.
const RUNS: &str = "runs";

/// The folder of files that say which rows, lengths and runs each command asked for. Several processes add to it at
/// the same time, which one file would not permit on every file system.
const REQUESTS: &str = "requests";

/// The files of the report, which are written anew from the runs.
const REPORT: [&str; 6] = [
    RESULTS,
    "report.html",
    "perplexity_vs_parameters.svg",
    "perplexity_vs_parameters.png",
    "perplexity_vs_bptt.svg",
    "perplexity_vs_bptt.png",
];

/// The folder of an experiment.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub path: PathBuf,
}

impl Folder {
    /// Creates the folder if it is missing, and checks that it can be written and that it holds nothing else than
    /// an experiment.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Busy`] or [`Error::BadFile`] for a results.json of another kind or a later version.
    pub fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        tempfile::tempfile_in(path).map_err(Error::io(path, "write"))?;
        let folder = Self { path: path.into() };
        folder.earlier()?;
        Ok(folder)
    }

    /// Path of a run's folder.
    pub fn run(&self, name: &str) -> PathBuf {
        self.path.join(RUNS).join(name)
    }

    /// The results.json in the folder; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Busy`] if it is of another kind; [`Error::BadFile`] if it is of a later version.
    pub fn earlier(&self) -> Result<Option<ReproduceResults>> {
        read_results(&self.path)
    }

    /// The names of the runs that have a folder, in alphabetical order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = entries(&self.path.join(RUNS))?;
        names.retain(|path| path.is_dir());
        let name =
            |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(names.iter().filter_map(name).collect())
    }

    /// Adds a command's request.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn request(&self, requested: &Requested) -> Result<()> {
        let folder = self.path.join(REQUESTS);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder, "create"))?;
        let encoded = serde_json::to_vec(&Request::from(requested));
        let mut json = encoded.map_err(|error| Error::io(&folder, "write")(error.into()))?;
        json.push(b'\n');
        // The same request has the same file.
        let path = folder.join(format!("{:016x}.json", XxHash3_64::oneshot(&json)));
        atomic_file::write(&path, &json).map_err(Error::io(&path, "write"))
    }

    /// What all commands in this folder asked for, and what its results.json has.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] for a damaged request.
    pub fn requested(&self) -> Result<Requested> {
        let mut requested = Requested::default();
        if let Some(earlier) = self.earlier()? {
            requested.add(&earlier);
        }
        for path in entries(&self.path.join(REQUESTS))? {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue; // a file that is being written
            }
            let json = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
            let request = serde_json::from_slice(&json).map_err(|error| {
                let problem = format!("is not a request: {}", json::problem(&error));
                Error::bad_line(
                    &path,
                    error.line() as u64,
                    problem,
                    "delete this file, and repeat the commands \
                    of this folder: they train nothing that is finished",
                )
            })?;
            requested.add_request(request);
        }
        Ok(requested)
    }

    /// The finished runs in the folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] for a damaged file; [`Error::Mismatch`] for a run whose folder has the name of
    /// another.
    pub fn finished(&self) -> Result<Vec<FinishedRun>> {
        let mut finished = vec![];
        for name in self.names()? {
            let folder = self.run(&name);
            if let Some(StoredRun::Finished(run)) = FinishedRun::read(&folder)? {
                if run.name != name {
                    return Err(Error::mismatch(
                        folder.display().to_string(),
                        format!("holds the run {}", run.name),
                        "give the folder the name of its run, or move it away",
                    ));
                }
                finished.push(*run);
            }
        }
        Ok(finished)
    }

    /// Checks that the earlier runs of the folder have the same scale and text.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the first difference; [`Error::Busy`] for results whose runs were not kept.
    pub fn check(&self, circumstances: &Circumstances) -> Result<()> {
        let remedy =
            "name another folder, or train this folder's runs anew with `.overwrite(true)`";
        if let Some(earlier) = self.earlier()? {
            let file = self.path.join(RESULTS).display().to_string();
            if earlier.format < 2 {
                return Err(Error::busy(
                    file,
                    "holds results of version 0.1, which kept no runs: they would be overwritten",
                    remedy,
                ));
            }
            let scale = earlier.scale.clone();
            let corpus = earlier.corpus.clone();
            let origin = circumstances.origin.clone();
            circumstances.check_same(&Circumstances { scale, corpus, origin }, &file, remedy)?;
        }
        for run in self.finished()? {
            let folder = self.run(&run.name).display().to_string();
            circumstances.check_same(&run.circumstances, &folder, remedy)?;
        }
        Ok(())
    }

    /// Deletes the runs of these jobs, or all runs if those of the folder have another scale or text.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process works on one of them, and nothing is deleted; [`Error::Io`].
    pub fn clear(&self, jobs: &[Job], circumstances: &Circumstances) -> Result<()> {
        let all = self.check(circumstances).is_err();
        let chosen: BTreeSet<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
        let mut names = self.names()?;
        names.retain(|name| all || chosen.contains(name.as_str()));
        let mut owned = vec![];
        for name in names {
            match RunDir::claim(&self.run(&name), &mut None)? {
                Claimed::Ours(folder) => owned.push(folder),
                Claimed::Live(owner) => return Err(in_use(&self.run(&name), &owner)),
                Claimed::Unclear(owner) => {
                    return Err(Error::busy(
                        self.run(&name).display().to_string(),
                        format!("belongs to {owner}, which may still work on it"),
                        "wait for it, or delete the file `owner` in this folder if that process has ended",
                    ));
                }
            }
        }
        for folder in owned {
            let path = folder.path();
            std::fs::remove_dir_all(path).map_err(Error::io(path, "delete"))?;
        }
        if !all {
            return Ok(());
        }
        let requests = entries(&self.path.join(REQUESTS))?;
        for file in REPORT.map(|name| self.path.join(name)).into_iter().chain(requests) {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::io(&file, "delete")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Paths in a folder, in alphabetical order; none if there is no such folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(Error::io(folder, "read")(error)),
    };
    let path = |entry: std::io::Result<std::fs::DirEntry>| entry.map(|entry| entry.path());
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(path).collect();
    let mut paths = paths.map_err(Error::io(folder, "read"))?;
    paths.sort();
    Ok(paths)
}

/// The results.json in the folder of an experiment; `None` if there is none.
///
/// # Errors
/// [`Error::Busy`] if it is of another kind; [`Error::BadFile`] if it is of a later version.
pub(super) fn read_results(folder: &Path) -> Result<Option<ReproduceResults>> {
    #[derive(serde::Deserialize)]
    struct Version {
        #[serde(default)]
        format: u32,
    }

    let path = folder.join(RESULTS);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&path, "read")(error)),
    };
    if let Ok(Version { format }) = serde_json::from_slice(&bytes)
        && format > FORMAT
    {
        return Err(Error::bad_file(
            &path,
            format!("is of a later version of this program (format {format}, here {FORMAT})"),
            "use that version, or name another folder",
        ));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Error::busy(
            path.display().to_string(),
            format!(
                "is not that of an experiment table and would be overwritten ({})",
                json::problem(&error)
            ),
            "name another folder, or move that file away",
        )
    })
}
