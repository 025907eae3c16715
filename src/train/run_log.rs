//! A run's log, read back.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::record::Record;
use crate::{Error, Result};

/// The log in a run's folder.
const LOG: &str = "metrics.jsonl";

/// What metrics.jsonl says of a run, finished or not.
#[derive(Debug, Clone, PartialEq)]
pub struct RunLog {
    /// The name of the run's folder.
    pub name: String,
    /// The lines, in their order.
    pub records: Vec<Record>,
}

impl RunLog {
    /// Reads the log of a run's folder, or a metrics.jsonl itself. A last line that the run has
    /// not finished writing is left out.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] with the line that is none of a log, or where there are
    /// no lines yet.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = file_of(path);
        let text = std::fs::read_to_string(&file).map_err(Error::io(&file, "read"))?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let records = whole.lines().zip(1..).map(|(line, number)| {
            serde_json::from_str(line).map_err(|error| {
                Error::bad_line(
                    &file,
                    number,
                    format!("is no line of a training log ({error})"),
                    "name the folder of a run, or its metrics.jsonl",
                )
            })
        });
        let records: Vec<Record> = records.collect::<Result<_>>()?;
        if records.is_empty() {
            return Err(Error::bad_file(&file, "has no lines yet", "wait for the run's first"));
        }
        let folder = file.canonicalize().ok().and_then(|file| file.parent().map(Path::to_path_buf));
        let name = folder.as_deref().and_then(Path::file_name).unwrap_or(path.as_os_str());
        Ok(Self { name: name.to_string_lossy().into_owned(), records })
    }

    /// Reads several logs. Runs whose folders have one name are told apart by as much of their paths as
    /// that takes.
    ///
    /// # Errors
    /// As [`RunLog::read`].
    pub fn read_all(paths: &[impl AsRef<Path>]) -> Result<Vec<Self>> {
        let mut logs = paths.iter().map(Self::read).collect::<Result<Vec<_>>>()?;
        let places: Vec<PathBuf> = paths.iter().map(|path| place_of(path.as_ref())).collect();
        let names: Vec<String> = logs.iter().map(|log| log.name.clone()).collect();
        for (i, log) in logs.iter_mut().enumerate() {
            let named_alike = places.iter().zip(&names).filter(|(_, name)| **name == names[i]);
            let others: Vec<&Path> = named_alike
                .map(|(place, _)| place.as_path())
                .filter(|place| *place != places[i])
                .collect();
            if !others.is_empty() {
                log.name = differing_tail(&places[i], &others);
            }
        }
        Ok(logs)
    }
}

/// The log that a path names: that of a run's folder, or the path itself.
fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(LOG) } else { path.into() }
}

/// What tells a log from others: its folder, or the file where it has another name.
fn place_of(path: &Path) -> PathBuf {
    let file = file_of(path);
    let file = file.canonicalize().unwrap_or(file);
    match (file.file_name(), file.parent()) {
        (Some(name), Some(folder)) if name == OsStr::new(LOG) => folder.into(),
        _ => file,
    }
}

/// As many of the last parts of a path as no other path ends in.
fn differing_tail(path: &Path, others: &[&Path]) -> String {
    let all: Vec<_> = path.components().collect();
    let tails = (0..all.len()).rev().map(|from| all[from..].iter().collect::<PathBuf>());
    let mut differing = tails.filter(|tail| others.iter().all(|other| !other.ends_with(tail)));
    differing.next().unwrap_or_else(|| path.into()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::EpochReport;

    #[test]
    fn a_log_reads_back_without_its_unfinished_line() {
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
        std::fs::write(&file, "{").unwrap();
        assert!(RunLog::read(&run).unwrap_err().to_string().contains("no lines yet"));
    }
    fn run(folder: &Path, losses: &[f64], valid: f64) {
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
    fn runs_of_one_name_are_told_apart_by_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["x/1/run", "y/1/run", "y/2/run", "alone"].map(|run| folder.path().join(run));
        paths.iter().for_each(|path| run(path, &[2.0], 2.0));
        let names = |paths: &[PathBuf]| -> Vec<String> {
            RunLog::read_all(paths).unwrap().into_iter().map(|log| log.name).collect()
        };
        assert_eq!(names(&paths), ["x/1/run", "y/1/run", "2/run", "alone"]);
        assert_eq!(names(&paths[1..]), ["1/run", "2/run", "alone"]);
        // One run twice is one run, and two logs may lie in one folder.
        assert_eq!(names(&[paths[3].clone(), paths[3].join(LOG)]), ["alone", "alone"]);
        let copies = ["a.jsonl", "b.jsonl"].map(|name| paths[3].join(name));
        for copy in &copies {
            std::fs::copy(paths[3].join(LOG), copy).unwrap();
        }
        assert_eq!(names(&copies), ["a.jsonl", "b.jsonl"]);
    }

    #[test]
    fn curves_begin_where_they_have_come_near_the_lowest() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &[8.3, 6.0, 3.5, 2.0], 2.5);
        let log = RunLog::read(folder.path()).unwrap();
        assert_eq!(log.training().points, [(60.0, 3.5f64.exp()), (80.0, 2f64.exp())]);
        assert_eq!(log.validation().points, [(80.0, 2.5f64.exp())]);
    }
}
