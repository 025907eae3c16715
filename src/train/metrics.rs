//! metrics.jsonl: the log of a run, one JSON object a line, and TensorBoard's beside it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::events::Events;
use crate::{Error, Result};

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// Some steps of training.
    Steps {
        /// Steps done since the beginning of the run.
        step: u64,
        /// Epoch, counted from 1.
        epoch: usize,
        /// Mean cross entropy since the last such line, in nats a word.
        loss: f64,
        /// Learning rate of the last step.
        rate: f64,
        /// Words trained on, a second, since the last such line.
        tokens_per_second: f64,
    },
    /// The end of an epoch.
    Epoch(EpochReport),
    /// The end of the run.
    Test {
        /// Mean cross entropy of the best model on the test text, in nats a word.
        loss: f64,
        /// Its perplexity.
        ppl: f64,
    },
}

/// What an epoch came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean cross entropy in training, dropouts on, in nats a word.
    pub train_loss: f64,
    /// Mean cross entropy on the validation text, in nats a word.
    pub valid_loss: f64,
    /// exp(valid_loss).
    pub valid_ppl: f64,
    /// Time of the epoch, its validation included.
    pub seconds: f64,
}

/// Appends to a run's log; each line is on its way to the disk when a call returns.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    events: Option<Events>,
}

impl MetricsLog {
    /// Opens a log, new or of a run that goes on; [`MetricsLog::cut`] says where to write.
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
    pub(super) fn cut(&mut self, bytes: u64, step: u64) -> Result<Option<Vec<usize>>> {
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
