//! metrics.jsonl: the log of a run, one JSON object a line, and TensorBoard's beside it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::record::Record;
use super::tensorboard::Events;
use crate::{Error, Result};

/// Steps between two lines of the log, where the caller says nothing.
pub(super) const LOG_EVERY: u64 = 20;

/// Appends to a run's log; each line is on its way to the disk when a call returns.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    events: Option<Events>,
}

impl MetricsLog {
    /// Opens a log, new or of a run that goes on; [`MetricsLog::truncate`] says where to write.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        Ok(Self { path: path.into(), file: file.map_err(Error::io(path, "write"))?, events: None })
    }

    /// Forgets all beyond so many bytes, which is beyond step `step`: lines of steps that will be
    /// done again. Where there are fewer bytes, or they do not end with a line, the log is not that
    /// of the run: its whole lines are kept, and the numbers of the epochs among them returned.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn truncate(&mut self, bytes: u64, step: u64) -> Result<Option<Vec<usize>>> {
        let read = |file: &mut File| {
            let mut kept = vec![];
            file.rewind()?;
            file.take(bytes).read_to_end(&mut kept)?;
            Ok(kept)
        };
        let mut kept = read(&mut self.file).map_err(Error::io(&self.path, "read"))?;
        let whole = kept.len() as u64 == bytes && kept.last().is_none_or(|last| *last == b'\n');
        let mut epochs = None;
        if !whole {
            let lines = kept.split_inclusive(|byte| *byte == b'\n');
            let records = lines.map_while(|line| {
                let ended = line.strip_suffix(b"\n")?;
                Some((line.len(), serde_json::from_slice::<Record>(ended).ok()?))
            });
            let (lengths, records): (Vec<_>, Vec<_>) = records.unzip();
            kept.truncate(lengths.iter().sum());
            let epoch = |record: &Record| match record {
                Record::Epoch(report) => Some(report.epoch),
                Record::Steps { .. } | Record::Test { .. } => None,
            };
            epochs = Some(records.iter().filter_map(epoch).collect());
        }
        let length = kept.len() as u64;
        self.file
            .set_len(length)
            .and_then(|()| self.file.seek(SeekFrom::Start(length)))
            .map_err(Error::io(&self.path, "write"))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        if step == 0 {
            Events::clear(folder)?;
        }
        self.events = Some(Events::begin(folder, step)?);
        Ok(epochs)
    }

    /// Adds a line, in one call to the system.
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

    /// Waits until all lines are on the disk, and returns the log's length.
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
    fn what_is_infinite_comes_back() {
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
    fn a_perplexity_that_is_null_or_missing_is_that_of_the_loss() {
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
        // A field of losses may not be left out.
        assert!(serde_json::from_str::<Record>(r#"{"kind":"test","ppl":2.0}"#).is_err());
    }
}
