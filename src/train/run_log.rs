//! A run's log, read back.

use std::path::{Path, PathBuf};

use super::metrics::Record;
use crate::plot::Curve;
use crate::{Error, Result};

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
        let file: PathBuf = if path.is_dir() { path.join("metrics.jsonl") } else { path.into() };
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

    /// Perplexity in training by step: of the words since the last line of the log.
    pub fn training(&self) -> Curve {
        let points = self.records.iter().filter_map(|record| match record {
            Record::Steps { step, loss, .. } => Some((*step as f64, loss.exp())),
            _ => None,
        });
        Curve { label: self.name.clone(), points: points.collect() }
    }

    /// Perplexity on the validation text by step, one point an epoch.
    pub fn validation(&self) -> Curve {
        let mut last = 0;
        let points = self.records.iter().filter_map(|record| match record {
            Record::Steps { step, .. } => {
                last = *step;
                None
            }
            Record::Epoch(epoch) => Some((last as f64, epoch.valid_ppl)),
            Record::Test { .. } => None,
        });
        Curve { label: format!("{}, valid", self.name), points: points.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::EpochReport;

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
}
