//! Writes the log of a run: metrics.jsonl, one JSON object per line, and a TensorBoard event file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::record::Record;
use super::tensorboard::Events;
use crate::{Error, Result};

/// Default number of steps between log lines.
pub(crate) const LOG_EVERY: u64 = 20;

/// Appends to the log of a run, unbuffered.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    events: Option<Events>,
}

impl MetricsLog {
    /// Opens or creates a log. Call [`MetricsLog::truncate`] before [`MetricsLog::add`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        Ok(Self { path: path.into(), file: file.map_err(Error::io(path, "write"))?, events: None })
    }

    /// Truncates the log to its first `bytes` bytes, which end with step `step`: later steps will be
    /// repeated. If the log is shorter, or no line ends there, it does not belong to the checkpoint; then
    /// its complete lines are kept and the epochs that they record are returned.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn truncate(&mut self, bytes: u64, step: u64) -> Result<Option<Vec<usize>>> {
        let read = |file: &mut File| {
            let mut content = vec![];
            file.rewind()?;
            file.take(bytes).read_to_end(&mut content)?;
            Ok(content)
        };
        let mut content = read(&mut self.file).map_err(Error::io(&self.path, "read"))?;
        let intact =
            content.len() as u64 == bytes && content.last().is_none_or(|last| *last == b'\n');
        let mut epochs = None;
        if !intact {
            let lines = content.split_inclusive(|byte| *byte == b'\n');
            let records = lines.map_while(|line| {
                let json = line.strip_suffix(b"\n")?;
                Some((line.len(), serde_json::from_slice::<Record>(json).ok()?))
            });
            let (lengths, records): (Vec<_>, Vec<_>) = records.unzip();
            content.truncate(lengths.iter().sum());
            let epoch = |record: &Record| match record {
                Record::Epoch(report) => Some(report.epoch),
                Record::Steps { .. } | Record::Test { .. } => None,
            };
            epochs = Some(records.iter().filter_map(epoch).collect());
        }
        let length = content.len() as u64;
        self.file
            .set_len(length)
            .and_then(|()| self.file.seek(SeekFrom::Start(length)))
            .map_err(Error::io(&self.path, "write"))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        if step == 0 {
            Events::clear(folder)?;
        }
        self.events = Some(Events::create(folder, step)?);
        Ok(epochs)
    }

    /// Appends a line with one system call.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add(&mut self, record: &Record) -> Result<()> {
        serde_json::to_string(record)
            .map_err(std::io::Error::from)
            .and_then(|line| self.file.write_all(format!("{line}\n").as_bytes()))
            .map_err(Error::io(&self.path, "write"))?;
        self.events.as_mut().map_or(Ok(()), |events| events.record(record))
    }

    /// Waits until all lines are on the disk, and returns the length of the log in bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&mut self) -> Result<u64> {
        self.file
            .sync_data()
            .and_then(|()| self.file.stream_position())
            .map_err(Error::io(&self.path, "write"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::EpochReport;

    fn reread(record: &Record) -> Record {
        serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap()
    }

    #[test]
    fn infinite_values_are_read_back() {
        for valid_loss in [f64::INFINITY, 5000.0, 2.5] {
            let report = EpochReport {
                epoch: 3,
                train_loss: valid_loss,
                valid_loss,
                valid_ppl: valid_loss.exp(),
                seconds: 1.0,
            };
            let record = Record::Epoch(report);
            assert_eq!(reread(&record), record);
            let record = Record::Test { loss: valid_loss, ppl: valid_loss.exp() };
            assert_eq!(reread(&record), record);
        }
        let rate = f64::INFINITY;
        let steps = Record::Steps { step: 1, epoch: 1, loss: 2.0, rate, tokens_per_second: 1.0 };
        assert_eq!(reread(&steps), steps);
    }

    #[test]
    fn a_null_or_missing_perplexity_is_computed_from_the_loss() {
        for line in [
            r#"{"kind":"epoch","epoch":1,"train_loss":1.0,"valid_loss":2.0,"valid_ppl":null,"seconds":1.0}"#,
            r#"{"kind":"epoch","epoch":1,"train_loss":1.0,"valid_loss":2.0,"seconds":1.0}"#,
        ] {
            let Record::Epoch(report) = serde_json::from_str(line).unwrap() else { panic!() };
            assert_eq!(report.valid_ppl, 2f64.exp());
        }
        let line = r#"{"kind":"test","loss":3.0,"ppl":null}"#;
        let expected = Record::Test { loss: 3.0, ppl: 3f64.exp() };
        assert_eq!(serde_json::from_str::<Record>(line).unwrap(), expected);
        // The loss is required.
        assert!(serde_json::from_str::<Record>(r#"{"kind":"test","ppl":2.0}"#).is_err());
    }
}
