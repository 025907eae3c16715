//! What a bench says while it runs: text as soon as it is known, and every measurement as a line of a file.
//! Whatever ends a bench early, what it measured until then is there.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use qrnn::terminal;
use qrnn::{Error, Result};
use qrnn_ops::device::{SKIP_SELF_TEST, self_test_is_skipped};
use serde_json::{Value, json};
use tch::Device;

use crate::device;
use qrnn::command_line::Output;

#[derive(Debug, Clone, clap::Args)]
pub struct RecordFlags {
    /// Append every measurement to this file, as a line of JSON, as soon as it is known
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

pub struct Report {
    bench: &'static str,
    device: String,
    /// Standard output is for the one JSON object.
    json: bool,
    record: Option<(PathBuf, File)>,
    measurements: Vec<Value>,
    /// What was wrong with results or work of ours.
    problems: Vec<String>,
}

impl Report {
    /// # Errors
    /// [`Error::Io`] where the file of `--record` cannot be opened; [`Error::Unavailable`] where the GPU
    /// has gone.
    pub fn new(
        bench: &'static str,
        device: Device,
        flags: &RecordFlags,
        json: bool,
    ) -> Result<Self> {
        let open = |path: &PathBuf| {
            let file = File::options().create(true).append(true).open(path);
            Ok::<_, Error>((path.clone(), file.map_err(Error::io(path, "write"))?))
        };
        let record = flags.record.as_ref().map(open).transpose()?;
        let device = device::name(device)?;
        Ok(Self { bench, device, json, record, measurements: vec![], problems: vec![] })
    }

    /// Prints a text for people, at once: to standard output, with `--json` to standard error.
    pub fn print(&self, text: impl Display) {
        // A reader that has gone away ends no measurement.
        if self.json {
            terminal::note(text);
        } else {
            terminal::show(text);
        }
    }

    /// Keeps a measurement, and records it; returns its place.
    ///
    /// # Errors
    /// [`Error::Io`] where the file of `--record` cannot be written.
    pub fn add(&mut self, measurement: Value) -> Result<usize> {
        if let Some((path, file)) = &mut self.record {
            let mut line = json!({"bench": self.bench, "device": self.device});
            if let (Some(line), Some(more)) = (line.as_object_mut(), measurement.as_object()) {
                line.extend(more.clone());
            }
            // One write a line: a process that is killed leaves whole lines.
            let written = file.write_all(format!("{line}\n").as_bytes());
            written.and_then(|()| file.flush()).map_err(Error::io(&*path, "write"))?;
        }
        self.measurements.push(measurement);
        Ok(self.measurements.len() - 1)
    }

    /// Adds a field that is known later to the measurement at a place of the final object.
    pub fn amend(&mut self, at: usize, name: &str, value: Value) {
        if let Some(measurement) = self.measurements.get_mut(at) {
            measurement[name] = value;
        }
    }

    /// Adds an entry to a list of the measurement at a place of the final object.
    pub fn append(&mut self, at: usize, name: &str, entry: Value) {
        let list = self.measurements.get_mut(at).and_then(|value| value[name].as_array_mut());
        if let Some(list) = list {
            list.push(entry);
        }
    }

    /// Notes work of ours that failed: `what` names it in words, `measurement` has its fields. The bench
    /// goes on, and ends with status 1.
    ///
    /// # Errors
    /// As [`Self::note`].
    pub fn failed(&mut self, what: &str, mut measurement: Value, error: &Error) -> Result<()> {
        measurement["failed"] = json!(error.to_string());
        self.print(format!("\n{what} failed: {error}"));
        self.problems.push(format!("{what} failed: {error}"));
        self.add(measurement).map(drop)
    }

    /// A result of ours that is not what it should be: the bench goes on, and ends with status 1. Over
    /// stand-ins of a GPU, where nothing is computed, that says nothing of ours.
    pub fn problem(&mut self, problem: String) {
        if self_test_is_skipped() {
            self.print(format!("not judged ({}): {problem}", SKIP_SELF_TEST));
        } else {
            self.problems.push(problem);
        }
    }

    /// The outcome, with a last text.
    pub fn finish(self, closing: impl Display) -> Output {
        let mut json = json!({"bench": self.bench, "measurements": self.measurements});
        let mut text = closing.to_string();
        if self.problems.is_empty() {
            return Output::done(text, json);
        }
        let errors: Vec<_> =
            self.problems.iter().map(|problem| format!("error: {problem}")).collect();
        let errors = errors.join("\n");
        if self.json {
            // All text goes to standard error then, and this is the end of it.
            text = format!("{text}\n{errors}");
        } else {
            terminal::note(errors);
        }
        json["errors"] = json!(self.problems);
        Output { text, json, status: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_ours_that_failed_ends_a_bench_with_status_1_and_is_measured_nonetheless() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let flags = RecordFlags { record: Some(path.clone()) };
        let mut report = Report::new("step", Device::Cpu, &flags, true).unwrap();
        let error = Error::usage("a kernel", "it was not launched", "report this");
        report
            .failed("the step in bf16", json!({"what": "a step", "format": "bf16"}), &error)
            .unwrap();
        let at = report.add(json!({"what": "a step", "format": "tf32", "peers": []})).unwrap();
        report.amend(at, "later", json!(1));
        report.append(at, "peers", json!({"peer": "a"}));
        let output = report.finish("all is said");
        assert_eq!(output.status, 1);
        assert!(output.text.ends_with(
            "error: the step in bf16 failed: a kernel: it was not launched\n  \
                                       what to do: report this"
        ));
        let [failed, done] = &output.json["measurements"].as_array().unwrap()[..] else { panic!() };
        assert!(failed["failed"].as_str().unwrap().contains("it was not launched"));
        assert_eq!((&done["later"], &done["peers"][0]["peer"]), (&json!(1), &json!("a")));
        let lines = std::fs::read_to_string(&path).unwrap();
        let formats = lines.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["bench"], "step");
            line["format"].clone()
        });
        assert_eq!(formats.collect::<Vec<_>>(), ["bf16", "tf32"]);
    }

    #[test]
    fn nothing_wrong_is_status_0() {
        let flags = RecordFlags { record: None };
        let report = Report::new("step", Device::Cpu, &flags, false).unwrap();
        let output = report.finish("");
        assert_eq!(output.status, 0);
        assert!(output.json["errors"].is_null());
    }
}
