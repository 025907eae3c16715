//! Training steps in PyTorch to measure a card's against, each in a process of its own: `peers.py`,
//! which this project wrote.

use std::path::Path;

use qrnn::{Error, Result};
use serde_json::{Value, json};
use tch::Device;

use super::python::Python;

/// Who wrote the peers, as every measurement against them says.
pub const WRITTEN_BY: &str = "written for this project, from the published list of operations";

/// How a peer takes its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Eager, single precision, the published pooling kernel.
    Published,
    /// The same with TF32 allowed.
    Tf32,
    /// torch.compile, bf16, fused Adam.
    Tuned,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Published, Self::Tf32, Self::Tuned];

    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Tf32 => "tf32",
            Self::Tuned => "tuned",
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Published => "published step, eager, fp32",
            Self::Tf32 => "the same, TF32 allowed",
            Self::Tuned => "tuned: torch.compile, bf16, fused Adam",
        }
    }
}

/// What a peer is to do.
pub struct Setting<'a> {
    /// Holds what [`super::torch_model::write_inputs`] wrote.
    pub folder: &'a Path,
    pub device: Device,
    /// First words of the softmax's tails.
    pub splits: &'a [usize],
    pub batch: usize,
    /// Of every locked dropout.
    pub dropout: f64,
    pub clip: f64,
}

/// The process.
pub struct Peer {
    pub mode: Mode,
    pub version: String,
    python: Python,
}

/// What some steps came to.
pub struct Steps {
    pub losses: Vec<f64>,
    /// Of all, by the wall clock.
    pub seconds: f64,
    /// Of each, by the device's clock.
    pub each: Vec<f64>,
    /// On a card.
    pub peak_bytes: Option<f64>,
}

impl Peer {
    /// Starts a peer; `None` where there is no such Python, or no torch in it.
    ///
    /// # Errors
    /// [`Error::Usage`] where the process fails.
    pub fn start(python: &str, mode: Mode, setting: &Setting<'_>) -> Result<Option<Self>> {
        let config = json!({"mode": mode.name(), "device": device(setting.device),
            "splits": setting.splits, "batch": setting.batch, "dropout": setting.dropout,
            "clip": setting.clip});
        let started = start(python, setting.folder, &config)?;
        Ok(started.map(|(python, version)| Self { mode, version, python }))
    }

    /// Trains a step of each length and rate, on the words after those of the last.
    ///
    /// # Errors
    /// [`Error::Usage`] where the process fails.
    pub fn steps(&mut self, lengths: &[usize], rates: &[f64]) -> Result<Steps> {
        let answer = ask(&mut self.python, &json!({"lengths": lengths, "rates": rates}))?;
        let steps = Steps {
            losses: numbers(&answer["losses"]),
            seconds: answer["seconds"].as_f64().unwrap_or(f64::NAN),
            each: numbers(&answer["step_seconds"]),
            peak_bytes: answer["peak_bytes"].as_f64(),
        };
        match steps.losses.len() == lengths.len() && steps.each.len() == lengths.len() {
            true => Ok(steps),
            false => Err(self.python.failed()),
        }
    }

    /// Reads all ids in windows, nothing dropped or learned: the summed loss in nats, and seconds.
    ///
    /// # Errors
    /// [`Error::Usage`] where the process fails.
    pub fn evaluate(&mut self, window: usize) -> Result<(f64, f64)> {
        let answer = ask(&mut self.python, &json!({"evaluate": window}))?;
        let number = |name: &str| answer[name].as_f64();
        number("loss_sum").zip(number("seconds")).ok_or_else(|| self.python.failed())
    }
}

/// Seconds of fo-pooling the published way: each run's forward, and forward and backward; and by
/// what. `None` where there is no torch.
///
/// # Errors
/// [`Error::Usage`] where the process fails.
pub fn pool(
    python: &str,
    place: Device,
    size: [i64; 3],
    runs: usize,
) -> Result<Option<([Vec<f64>; 2], String)>> {
    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
    let config = json!({"mode": "pool", "device": device(place)});
    let Some((mut python, version)) = start(python, folder.path(), &config)? else {
        return Ok(None);
    };
    let answer = ask(&mut python, &json!({"pool": size, "runs": runs}))?;
    let seconds = ["forward", "both"].map(|name| numbers(&answer[name]));
    match seconds.iter().all(|each| each.len() == runs) {
        true => Ok(Some((seconds, version))),
        false => Err(python.failed()),
    }
}

/// As PyTorch names it.
fn device(device: Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}

fn start(python: &str, folder: &Path, config: &Value) -> Result<Option<(Python, String)>> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(Error::io(&path, "write"))
    };
    // In a file, so that torch.compile can read what it compiles.
    write("peers.py", include_str!("peers.py"))?;
    write("peer.json", &config.to_string())?;
    let started = Python::start(python, |command| {
        command.arg(folder.join("peers.py")).arg(folder);
    })?;
    Ok(started.map(|(python, hello)| {
        let word = |name: &str| hello[name].as_str().unwrap_or_default().to_owned();
        (python, format!("PyTorch {} on {}", word("torch"), word("device")))
    }))
}

fn ask(python: &mut Python, command: &Value) -> Result<Value> {
    python.tell(&command.to_string())?;
    python.answer()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(name)
    }

    /// A Python with torch: the one that QRNN_PYTHON names, else python3.
    pub(in crate::bench) fn python() -> String {
        std::env::var("QRNN_PYTHON").unwrap_or_else(|_| "python3".into())
    }

    /// 20 steps from the fixtures' weights, each way, against those of tests/parity/reference.py. On
    /// the CPU nothing is rounded to TF32, and what torch.compile made is run as it is.
    #[test]
    fn the_peers_take_the_steps_of_the_reference() {
        let expected = std::fs::read(fixture("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let expected = numbers(&expected["train"]["adam"]);
        let corpus = qrnn::corpus::Corpus::from_text(fixture("text")).unwrap();
        let ids = corpus.tokens(qrnn::corpus::Split::Train);
        for (mode, tolerance) in [(Mode::Published, 1e-4), (Mode::Tf32, 1e-4), (Mode::Tuned, 2e-2)]
        {
            let folder = tempfile::tempdir().unwrap();
            std::fs::copy(fixture("init.safetensors"), folder.path().join("model.safetensors"))
                .unwrap();
            super::super::torch_model::write_ids(folder.path(), ids).unwrap();
            let setting = Setting {
                folder: folder.path(),
                device: Device::Cpu,
                splits: &[20, 35, 50],
                batch: 3,
                dropout: 0.0,
                clip: 0.0,
            };
            let Some(mut peer) = Peer::start(&python(), mode, &setting).unwrap() else {
                eprintln!("not tested: {} has no torch (QRNN_PYTHON names another)", python());
                return;
            };
            let n = expected.len();
            assert!(n >= 20);
            let steps = peer.steps(&vec![7; n], &vec![1e-2; n]).unwrap();
            assert!(steps.seconds >= steps.each.iter().sum::<f64>() * 0.99);
            for (ours, theirs) in steps.losses.iter().zip(&expected) {
                assert!((ours - theirs).abs() <= tolerance, "{mode:?}: {ours} and {theirs}");
            }
        }
    }

    #[test]
    fn a_python_that_is_not_there_is_no_peer_and_one_that_fails_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let setting = Setting {
            folder: folder.path(),
            device: Device::Cpu,
            splits: &[],
            batch: 1,
            dropout: 0.0,
            clip: 0.0,
        };
        assert!(Peer::start("/no/such/python", Mode::Tuned, &setting).unwrap().is_none());
        let error = Peer::start("/bin/true", Mode::Tuned, &setting).err().unwrap();
        assert_eq!(error.exit_status(), 2);
    }
}
