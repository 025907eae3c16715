//! PyTorch baselines, each in its own process that runs `baselines/baselines.py`. A baseline that
//! fails is left out, with its reason.

mod home;
pub mod pooling;
pub mod step;

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use qrnn::terminal;
use qrnn::{Error, Result};
use serde_json::{Value, json};
use tch::Device;
use tempfile::TempDir;

use crate::python::Python;
use crate::report::{Report, merged};

/// The origin of the baselines, which every measurement reports.
pub const WRITTEN_BY: &str = "written for this project, from the published list of operations";

/// Files of the program; the first one is run.
const FILES: [(&str, &str); 6] = [
    ("baselines.py", include_str!("baselines/baselines.py")),
    ("clock.py", include_str!("baselines/clock.py")),
    ("pooling.py", include_str!("baselines/pooling.py")),
    ("reason.py", include_str!("baselines/reason.py")),
    ("recurrence.py", include_str!("baselines/recurrence.py")),
    ("step.py", include_str!("baselines/step.py")),
];

/// Name of a baseline in `--peers` and JSON, and its label in text.
pub type Name = (&'static str, &'static str);

/// Parses the names in `--peers`.
pub fn names(all: &[Name]) -> PossibleValuesParser {
    PossibleValuesParser::new(["none"].into_iter().chain(all.iter().map(|(name, _)| *name)))
}

/// The selected baselines; `config` gets the name of each.
fn specs(all: &[Name], names: &[String], config: impl Fn(&str) -> Value) -> Vec<BaselineSpec> {
    let selected = all.iter().filter(|(name, _)| names.iter().any(|selected| selected == name));
    selected.map(|&(name, label)| BaselineSpec { name, label, config: config(name) }).collect()
}

#[derive(Debug, Clone, clap::Args)]
pub struct BaselineFlags {
    /// Python with torch 2.11 that runs the baselines
    #[arg(long, default_value = "python3")]
    pub python: String,
    /// Timeout for an answer of a baseline, in seconds; a baseline that takes longer is left out
    #[arg(long, default_value_t = 300.0, value_name = "SECONDS", value_parser = seconds)]
    peer_limit: f64,
}

/// Baselines on the CPU, all of which must start.
#[cfg(test)]
pub fn started(specs: Vec<BaselineSpec>) -> Baselines {
    let count = specs.len();
    let baselines = Baselines::spawn(&python(), specs, Device::Cpu).unwrap();
    let reasons: Vec<_> = baselines.left_out.iter().map(|baseline| &baseline.reason).collect();
    assert_eq!(baselines.live.len(), count, "{}: {reasons:?}", baselines.closing());
    baselines
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..1e6).contains(&seconds) => Ok(seconds),
        _ => Err(format!("{text} is not a number of seconds from 0 to 1000000")),
    }
}

/// A baseline to start.
pub struct BaselineSpec {
    /// In JSON.
    pub name: &'static str,
    /// In text.
    pub label: &'static str,
    /// The arguments of the program, written to peer.json.
    pub config: Value,
}

/// A running baseline.
pub struct Baseline {
    pub name: &'static str,
    pub label: &'static str,
    /// Versions of PyTorch and the device; empty before [`Baselines::hello`].
    pub version: String,
    python: Python,
    /// Contains its program.
    _folder: TempDir,
}

/// A baseline that failed.
pub struct LeftOut {
    pub name: &'static str,
    pub label: &'static str,
    pub reason: String,
}

/// The baselines of a benchmark.
#[derive(Default)]
pub struct Baselines {
    python: String,
    pub live: Vec<Baseline>,
    pub left_out: Vec<LeftOut>,
    /// Whether Python and torch were found.
    torch: bool,
}

impl Baselines {
    /// Starts the baselines. For a GPU they load their libraries while we measure our implementation, and
    /// do not use it before [`Self::hello`]. On the CPU they would slow us down, and are waited for.
    pub fn spawn(flags: &BaselineFlags, specs: Vec<BaselineSpec>, device: Device) -> Result<Self> {
        let mut baselines = Self { python: flags.python.clone(), torch: true, ..Self::default() };
        for BaselineSpec { name, label, config } in specs {
            let folder =
                tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
            let write = |name: &str, text: &str| {
                let path = folder.path().join(name);
                std::fs::write(&path, text).map_err(Error::io(&path, "write"))
            };
            // torch.compile needs the source in files.
            for (name, text) in FILES {
                write(name, text)?;
            }
            write("peer.json", &config.to_string())?;
            let limit = Duration::from_secs_f64(flags.peer_limit);
            let python = Python::spawn(&flags.python, limit, |command| {
                command.arg(folder.path().join(FILES[0].0)).arg(folder.path());
                command.env("CUDA_HOME", home::cuda_home(folder.path()));
            });
            let version = String::new();
            match python {
                Ok(Some(python)) => {
                    baselines.live.push(Baseline { name, label, version, python, _folder: folder });
                }
                Ok(None) => baselines.torch = false,
                Err(error) => {
                    let reason = error.to_string();
                    baselines.left_out.push(LeftOut { name, label, reason });
                }
            }
        }
        if !device.is_cuda() {
            baselines.hello();
        }
        Ok(baselines)
    }

    /// Initializes all baselines on the device, concurrently, unless this was done.
    pub fn hello(&mut self) {
        if self.live.iter().any(|baseline| !baseline.version.is_empty()) {
            return;
        }
        self.live.iter_mut().for_each(|baseline| baseline.tell(&json!({"hello": true})));
        self.each(|baseline| {
            let hello = baseline.python.answer()?;
            let field = |name: &str| hello[name].as_str().unwrap_or_default();
            baseline.version = if hello["torch"].is_string() {
                format!("PyTorch {} on {}", field("torch"), field("device"))
            } else {
                String::new()
            };
            Ok(())
        });
        if self.live.iter().any(|baseline| baseline.version.is_empty()) {
            self.live.clear();
            self.torch = false;
        }
    }

    /// Calls `work` on each baseline; one that fails is left out.
    pub fn each(&mut self, mut work: impl FnMut(&mut Baseline) -> Result<(), String>) {
        let mut at = 0;
        while let Some(baseline) = self.live.get_mut(at) {
            match work(baseline) {
                Ok(()) => at += 1,
                Err(reason) => {
                    let Baseline { name, label, .. } = self.live.remove(at);
                    terminal::note(format_args!("the baseline \"{name}\" is left out: {reason}"));
                    self.left_out.push(LeftOut { name, label, reason });
                }
            }
        }
    }

    /// Reports the baselines that failed, and adds them to the peers of our measurements with these
    /// indices, where they are not among them yet.
    pub fn report_left_out(&self, of: &str, ours: &[usize], report: &mut Report) -> Result<()> {
        for LeftOut { name, label, reason } in &self.left_out {
            report.print(format!("{label:<42} left out: {reason}"));
            let value = json!({"peer": name, "against": label, "failed": reason});
            ours.iter().for_each(|index| report.add_missing_peer(*index, &value));
            report.add(merged(value, json!({"what": "peer", "of": of})))?;
        }
        Ok(())
    }

    /// Describes the baselines, or says why there are none.
    pub fn closing(&self) -> String {
        match (self.live.first(), self.left_out.first()) {
            (Some(baseline), _) => format!("baselines: {WRITTEN_BY}; {}", baseline.version),
            _ if !self.torch => {
                format!(
                    "no baselines: {} has no torch; name a Python that has torch 2.11 with --python",
                    self.python
                )
            }
            (None, Some(_)) => "every baseline failed".into(),
            (None, None) => "no baselines were selected (--peers)".into(),
        }
    }
}

impl Baseline {
    /// Sends a command. An error is reported by [`Self::answer`].
    pub fn tell(&mut self, command: &Value) {
        let _ = self.python.tell(&command.to_string());
    }

    /// Waits for the next answer.
    pub fn answer(&mut self) -> Result<Value, String> {
        self.python.answer()
    }

    /// Sends a command and waits for its answer.
    pub fn ask(&mut self, command: &Value) -> Result<Value, String> {
        self.python.ask(command)
    }
}

/// PyTorch's name of a device.
pub fn device(device: Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}

/// The numbers of a JSON list.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// Python with torch: $QRNN_PYTHON, or python3.
#[cfg(test)]
pub fn python() -> BaselineFlags {
    let python = std::env::var("QRNN_PYTHON").unwrap_or_else(|_| "python3".into());
    BaselineFlags { python, peer_limit: 300.0 }
}
