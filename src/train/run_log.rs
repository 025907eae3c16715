//! Reads the logs of runs.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::record::Record;
use crate::{Error, Result, json};

/// Name of the log in the folder of a run.
const LOG: &str = "metrics.jsonl";

/// The log of a run, which need not be finished.
#[derive(Debug, Clone, PartialEq)]
pub struct RunLog {
    /// Name of the run's folder.
    pub name: String,
    /// Lines of metrics.jsonl, in order.
    pub records: Vec<Record>,
}

impl RunLog {
    /// Reads the log of a run folder, or a metrics.jsonl. An incomplete last line is ignored.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] if there is no log, if it is empty, or naming its first invalid line.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = log_path(path);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            let problem = match error.kind() {
                ErrorKind::NotFound if path.is_dir() => "has no metrics.jsonl",
                ErrorKind::NotFound => "there is no such file or folder",
                ErrorKind::InvalidData => "is not the log of a training run",
                _ => return Error::io(&file, "read")(error),
            };
            Error::bad_file(path, problem, "name the folder of a run, or its metrics.jsonl")
        })?;
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let records = complete.lines().zip(1..).map(|(line, number)| {
            serde_json::from_str(line).map_err(|error| {
                Error::bad_line(
                    &file,
                    number,
                    format!("is not a line of a training log: {}", json::problem(&error)),
                    "name the folder of a run, or its metrics.jsonl; delete a damaged line",
                )
            })
        });
        let records: Vec<Record> = records.collect::<Result<_>>()?;
        if records.is_empty() {
            return Err(Error::bad_file(
                &file,
                "has no lines yet",
                "wait until the run writes its first line",
            ));
        }
        let folder = file.canonicalize().ok().and_then(|file| file.parent().map(Path::to_path_buf));
        let name = folder.as_deref().and_then(Path::file_name).unwrap_or(path.as_os_str());
        Ok(Self { name: name.to_string_lossy().into_owned(), records })
    }

    /// Reads several logs. Runs whose folders have the same name are named by the shortest differing ends of
    /// their paths.
    ///
    /// # Errors
    /// As [`RunLog::read`].
    pub fn read_all(paths: &[impl AsRef<Path>]) -> Result<Vec<Self>> {
        let mut logs = paths.iter().map(Self::read).collect::<Result<Vec<_>>>()?;
        let run_paths: Vec<PathBuf> = paths.iter().map(|path| run_path(path.as_ref())).collect();
        let names: Vec<String> = logs.iter().map(|log| log.name.clone()).collect();
        for (i, log) in logs.iter_mut().enumerate() {
            let same_name = run_paths.iter().zip(&names).filter(|(_, name)| **name == names[i]);
            let others: Vec<&Path> = same_name
                .map(|(path, _)| path.as_path())
                .filter(|path| *path != run_paths[i])
                .collect();
            if !others.is_empty() {
                log.name = unique_suffix(&run_paths[i], &others);
            }
        }
        Ok(logs)
    }
}

/// Path of the log: in the folder, if `path` is one, or `path` itself.
fn log_path(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(LOG) } else { path.into() }
}

/// Path that identifies a log: its folder, or the file itself if it is not named metrics.jsonl.
fn run_path(path: &Path) -> PathBuf {
    let file = log_path(path);
    let file = file.canonicalize().unwrap_or(file);
    match (file.file_name(), file.parent()) {
        (Some(name), Some(folder)) if name == OsStr::new(LOG) => folder.into(),
        _ => file,
    }
}

/// The shortest suffix of `path`, in components, that no other path ends with.
fn unique_suffix(path: &Path, others: &[&Path]) -> String {
    let components: Vec<_> = path.components().collect();
    let suffixes =
        (0..components.len()).rev().map(|start| components[start..].iter().collect::<PathBuf>());
    let mut unique = suffixes.filter(|suffix| others.iter().all(|other| !other.ends_with(suffix)));
    unique.next().unwrap_or_else(|| path.into()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::EpochReport;

    #[test]
    fn an_incomplete_last_line_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("wide");
        std::fs::create_dir(&run).unwrap();
        let records = [
            Record::Steps { step: 20, epoch: 1, loss: 2.0, rate: 1e-3, tokens_per_second: 5.0 },
            Record::Epoch(EpochReport {
                epoch: 1,
                train_loss: 2.0,
                valid_loss: 3.0,
                valid_ppl: 20.0,
                seconds: 1.0,
            }),
        ];
        let lines: String =
            records.iter().map(|r| serde_json::to_string(r).unwrap() + "\n").collect();
        let file = run.join("metrics.jsonl");
        std::fs::write(&file, format!("{lines}{{\"kind\":\"st")).unwrap();
        let log = RunLog::read(&run).unwrap();
        assert_eq!((log.name.as_str(), log.records.as_slice()), ("wide", &records[..]));
        assert_eq!(log, RunLog::read(&file).unwrap());
        assert_eq!(log.training().points, [(20.0, 2f64.exp())]);
        assert_eq!(log.validation().points, [(20.0, 20.0)]);

        std::fs::write(&file, format!("{lines}{{}}\n")).unwrap();
        let error = RunLog::read(&run).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl, line 3"), "{error}");
        assert!(!error.contains("line 1") && !error.contains("column"), "{error}");
        let problem = |path: &Path| RunLog::read(path).unwrap_err().to_string();
        std::fs::write(&file, "{").unwrap();
        assert!(problem(&run).contains("no lines yet"));
        std::fs::write(&file, b"\xff\n").unwrap();
        assert!(problem(&file).contains("is not the log of a training run"));
        assert!(problem(folder.path()).contains("has no metrics.jsonl"));
        assert!(problem(&folder.path().join("none")).contains("no such file or folder"));
    }

    fn write_log(folder: &Path, losses: &[f64], valid: f64) {
        std::fs::create_dir_all(folder).unwrap();
        let steps = losses.iter().zip(1..).map(|(&loss, i)| Record::Steps {
            step: 20 * i,
            epoch: 1,
            loss,
            rate: 1e-3,
            tokens_per_second: 5.0,
        });
        let epoch = EpochReport {
            epoch: 1,
            train_loss: 2.0,
            valid_loss: valid,
            valid_ppl: valid.exp(),
            seconds: 1.0,
        };
        let lines = steps.chain([Record::Epoch(epoch)]);
        let lines: String = lines.map(|r| serde_json::to_string(&r).unwrap() + "\n").collect();
        std::fs::write(folder.join(LOG), lines).unwrap();
    }

    #[test]
    fn runs_with_the_same_name_are_distinguished_by_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["x/1/run", "y/1/run", "y/2/run", "alone"].map(|run| folder.path().join(run));
        paths.iter().for_each(|path| write_log(path, &[2.0], 2.0));
        let names = |paths: &[PathBuf]| -> Vec<String> {
            RunLog::read_all(paths).unwrap().into_iter().map(|log| log.name).collect()
        };
        assert_eq!(names(&paths), ["x/1/run", "y/1/run", "2/run", "alone"]);
        assert_eq!(names(&paths[1..]), ["1/run", "2/run", "alone"]);
        // A run named twice keeps its name; two logs may lie in the same folder.
        assert_eq!(names(&[paths[3].clone(), paths[3].join(LOG)]), ["alone", "alone"]);
        let copies = ["a.jsonl", "b.jsonl"].map(|name| paths[3].join(name));
        for copy in &copies {
            std::fs::copy(paths[3].join(LOG), copy).unwrap();
        }
        assert_eq!(names(&copies), ["a.jsonl", "b.jsonl"]);
    }
}
