//! Writes the values of metrics.jsonl to a TensorBoard event file in the same folder.
//!
//! An event is a protocol buffer (five fields of tensorflow's event.proto) in a TFRecord: its length, a
//! checksum of the length, the bytes, a checksum of the bytes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::record::Record;
use crate::{Error, Result};

/// TensorBoard reads files with this in their names.
const FILE_TAG: &str = "tfevents";

/// Appends to an event file. A resumed run starts another file.
#[derive(Debug)]
pub(super) struct Events {
    path: PathBuf,
    file: File,
    step: u64,
}

impl Events {
    /// Creates an event file for a run that starts or resumes after `step`. TensorBoard then discards later
    /// steps in older files of the folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(folder: &Path, step: u64) -> Result<Self> {
        let seconds = now() as u64;
        let stem = format!("events.out.{FILE_TAG}.{seconds:010}.{}", std::process::id());
        let names = (0..).map(|number| folder.join(format!("{stem}.{number}.qrnn")));
        let path = names.into_iter().find(|path| !path.exists()).unwrap_or_default();
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        let mut events = Self { path, file, step };
        events.add(What::FileVersion("brain.Event:2".into()))?;
        if step > 0 {
            events.step = step + 1; // the first step to discard
            events.add(What::Session(Session { status: START }))?;
            events.step = step;
        }
        Ok(events)
    }

    /// Deletes the event files of a folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
            let path = entry.map_err(Error::io(folder, "read"))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("events.out.") && name.ends_with(".qrnn") {
                fs::remove_file(&path).map_err(Error::io(&path, "delete"))?;
            }
        }
        Ok(())
    }

    /// Adds the values of a record at its step, or at the last step for a record without one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn record(&mut self, record: &Record) -> Result<()> {
        let values = match record {
            Record::Steps { step, epoch, loss, rate, tokens_per_second } => {
                self.step = *step;
                vec![
                    ("train/loss", *loss),
                    ("train/perplexity", loss.exp()),
                    ("train/learning_rate", *rate),
                    ("train/tokens_per_second", *tokens_per_second),
                    ("train/epoch", *epoch as f64),
                ]
            }
            Record::Epoch(epoch) => {
                vec![("valid/loss", epoch.valid_loss), ("valid/perplexity", epoch.valid_ppl)]
            }
            Record::Test { loss, ppl } => vec![("test/loss", *loss), ("test/perplexity", *ppl)],
        };
        let value = values
            .into_iter()
            .map(|(tag, value)| Value { tag: tag.into(), simple_value: Some(value as f32) });
        self.add(What::Summary(Summary { value: value.collect() }))
    }

    fn add(&mut self, what: What) -> Result<()> {
        let event = Event { wall_time: now(), step: self.step as i64, what: Some(what) };
        self.file
            .write_all(&tf_record(&event.encode_to_vec()))
            .map_err(Error::io(&self.path, "write"))
    }
}

/// Unix time in seconds.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Encodes a TFRecord.
fn tf_record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(bytes);
    record.extend(masked_crc(bytes).to_le_bytes());
    record
}

/// Masked CRC-32C of a TFRecord: rotated by 15 bits, plus a constant.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    Session(Session),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    // Optional: otherwise prost omits a value of 0.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// A session log with status START discards older events from its step on.
#[derive(Clone, PartialEq, Message)]
struct Session {
    #[prost(int32, tag = "1")]
    status: i32,
}

const START: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes an event file and checks its checksums.
    fn read(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = vec![];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let sum = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
            assert_eq!(sum(&rest[8..12]), masked_crc(&rest[..8]));
            let event = &rest[12..12 + length];
            assert_eq!(sum(&rest[12 + length..16 + length]), masked_crc(event));
            events.push(Event::decode(event).unwrap());
            rest = &rest[16 + length..];
        }
        events
    }

    #[test]
    fn a_second_session_discards_the_steps_that_it_repeats() {
        // The check value of CRC-32C.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let folder = tempfile::tempdir().unwrap();
        let steps =
            |step| Record::Steps { step, epoch: 1, loss: 2.5, rate: 0.0, tokens_per_second: 100.0 };
        let mut first = Events::create(folder.path(), 0).unwrap();
        first.record(&steps(20)).unwrap();
        first.record(&Record::Test { loss: 0.5, ppl: 1.5 }).unwrap();
        let mut second = Events::create(folder.path(), 10).unwrap();
        second.record(&steps(20)).unwrap();

        let events = read(&first.path);
        assert_eq!(events[0].what, Some(What::FileVersion("brain.Event:2".into())));
        assert_eq!((events[1].step, events[2].step), (20, 20));
        let Some(What::Summary(summary)) = &events[1].what else { panic!("{:?}", events[1]) };
        let value_of = |tag: &str| summary.value.iter().find(|value| value.tag == tag);
        assert_eq!(value_of("train/loss").unwrap().simple_value, Some(2.5));
        assert_eq!(value_of("train/learning_rate").unwrap().simple_value, Some(0.0));
        let events = read(&second.path);
        assert_eq!((events[1].step, events[2].step), (11, 20));
        assert_eq!(events[1].what, Some(What::Session(Session { status: START })));

        Events::clear(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
