//! Reports of a benchmark. Text is printed and measurements are appended to a file at once, so that
//! they survive if the benchmark is aborted.

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
    /// Append every measurement to this file at once, as a line of JSON
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// The report of a benchmark.
pub struct Report {
    bench: &'static str,
    device: String,
    /// Whether standard output is reserved for one JSON object.
    json: bool,
    record: Option<(PathBuf, File)>,
    measurements: Vec<Value>,
    /// Failures and wrong results of this project, not of baselines.
    problems: Vec<String>,
}

impl Report {
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

    /// Prints text to standard output, or with `--json` to standard error.
    pub fn print(&self, text: impl Display) {
        // A closed pipe must not end the benchmark.
        if self.json {
            terminal::note(text);
        } else {
            terminal::show(text);
        }
    }

    /// Adds and records a measurement; returns its index.
    pub fn add(&mut self, measurement: Value) -> Result<usize> {
        if let Some((path, file)) = &mut self.record {
            let line = json!({"bench": self.bench, "device": self.device});
            let line = merged(line, measurement.clone());
            // One write per line, so that a killed process leaves no partial line.
            let written = file.write_all(format!("{line}\n").as_bytes());
            written.and_then(|()| file.flush()).map_err(Error::io(&*path, "write"))?;
        }
        self.measurements.push(measurement);
        Ok(self.measurements.len() - 1)
    }

    /// Sets fields of the measurement with this index, in the final object only.
    pub fn amend(&mut self, index: usize, fields: Value) {
        if let Some(measurement) = self.measurements.get_mut(index) {
            *measurement = merged(measurement.take(), fields);
        }
    }

    /// Adds an entry to the `peers` of the measurement with this index, in the final object only.
    pub fn add_peer(&mut self, index: usize, peer: Value) {
        let value = self.measurements.get_mut(index);
        if let Some(peers) = value.and_then(|value| value["peers"].as_array_mut()) {
            peers.push(peer);
        }
    }

    /// As [`Self::add_peer`], unless the measurement has a peer of the same name.
    pub fn add_missing_peer(&mut self, index: usize, peer: &Value) {
        let peers = self.measurements.get(index).and_then(|value| value["peers"].as_array());
        if !peers.is_some_and(|peers| peers.iter().any(|other| other["peer"] == peer["peer"])) {
            self.add_peer(index, peer.clone());
        }
    }

    /// Reports a failure of this project: `what` names the work in text, `measurement` has its
    /// fields. The benchmark continues, and exits with status 1.
    pub fn failed(&mut self, what: &str, measurement: Value, error: &Error) -> Result<()> {
        self.print(format!("\n{what} failed: {error}"));
        self.problems.push(format!("{what} failed: {error}"));
        self.add(merged(measurement, json!({"failed": error.to_string()}))).map(drop)
    }

    /// Reports a wrong result of this project: the benchmark continues, and exits with status 1.
    /// Ignored if the self-test is skipped, because a fake GPU computes nothing.
    pub fn problem(&mut self, problem: String) {
        if self_test_is_skipped() {
            self.print(format!("ignored ({}): {problem}", SKIP_SELF_TEST));
        } else {
            self.problems.push(problem);
        }
    }

    /// The output of the program, with a closing text.
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
            // With --json, all text goes to standard error.
            text = format!("{text}\n{errors}");
        } else {
            terminal::note(errors);
        }
        json["errors"] = json!(self.problems);
        Output { text, json, status: 1 }
    }
}

/// An object with the fields of both.
pub fn merged(mut value: Value, fields: Value) -> Value {
    if let (Some(value), Value::Object(fields)) = (value.as_object_mut(), fields) {
        value.extend(fields);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_recorded_and_gives_status_1() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let flags = RecordFlags { record: Some(path.clone()) };
        let mut report = Report::new("step", Device::Cpu, &flags, true).unwrap();
        let error = Error::config("a kernel", "", "it was not launched", "report this");
        report
            .failed("the step in bf16", json!({"what": "a step", "format": "bf16"}), &error)
            .unwrap();
        let index = report.add(json!({"what": "a step", "format": "tf32", "peers": []})).unwrap();
        report.amend(index, json!({"later": 1}));
        report.add_peer(index, json!({"peer": "a"}));
        for name in ["a", "b"] {
            report.add_missing_peer(index, &json!({"peer": name, "failed": "why"}));
        }
        let output = report.finish("closing text");
        assert_eq!(output.status, 1);
        assert!(output.text.ends_with(
            "error: the step in bf16 failed: a kernel: it was not launched\n  \
                                       what to do: report this"
        ));
        let [failed, done] = &output.json["measurements"].as_array().unwrap()[..] else { panic!() };
        assert!(failed["failed"].as_str().unwrap().contains("it was not launched"));
        let peers = json!([{"peer": "a"}, {"peer": "b", "failed": "why"}]);
        assert_eq!((&done["later"], &done["peers"]), (&json!(1), &peers));
        let lines = std::fs::read_to_string(&path).unwrap();
        let formats = lines.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["bench"], "step");
            line["format"].clone()
        });
        assert_eq!(formats.collect::<Vec<_>>(), ["bf16", "tf32"]);
    }

    #[test]
    fn no_failure_gives_status_0() {
        let flags = RecordFlags { record: None };
        let report = Report::new("step", Device::Cpu, &flags, false).unwrap();
        let output = report.finish("");
        assert_eq!(output.status, 0);
        assert!(output.json["errors"].is_null());
    }
}
