//! Training steps and evaluations by baselines.

use std::path::Path;

use qrnn::model::QrnnLm;
use qrnn::{Error, Result as QrnnResult};
use serde_json::json;
use tch::Device;

use super::{Baseline, BaselineSpec, Name, device, numbers, specs};

/// The implementations of a training step.
pub const MODES: [Name; 5] = [
    ("fp32", "eager, fp32"),
    ("bf16", "eager, bf16 by autocast"),
    ("published", "published step, eager, fp32"),
    ("tf32", "published step, TF32 allowed"),
    ("tuned", "tuned: torch.compile, bf16, fused Adam"),
];

/// Modes whose losses are those of fp32.
pub const EXACT: [&str; 2] = ["fp32", "published"];

/// The settings of the baselines.
pub struct Setting<'a> {
    /// Contains the files of [`write_inputs`].
    pub folder: &'a Path,
    pub device: Device,
    /// First tokens of the softmax's tails.
    pub splits: &'a [usize],
    pub batch: usize,
    /// Probability of every locked dropout.
    pub dropout: f64,
    pub clip: f64,
}

impl Setting<'_> {
    /// The baselines with these names.
    pub fn specs(&self, names: &[String]) -> Vec<BaselineSpec> {
        specs(&MODES, names, |name| {
            json!({"work": "step", "mode": name, "device": device(self.device),
                "inputs": self.folder, "splits": self.splits, "batch": self.batch,
                "dropout": self.dropout, "clip": self.clip})
        })
    }
}

/// Writes the inputs of the baselines to a folder: model.safetensors and ids.bin.
pub fn write_inputs(folder: &Path, model: &QrnnLm, tokens: &[u32]) -> QrnnResult<()> {
    model.save_weights(folder.join("model.safetensors"))?;
    write_tokens(folder, tokens)
}

/// Writes tokens to ids.bin as little-endian 32-bit integers.
fn write_tokens(folder: &Path, tokens: &[u32]) -> QrnnResult<()> {
    let path = folder.join("ids.bin");
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    std::fs::write(&path, bytes).map_err(Error::io(&path, "write"))
}

/// Losses and times of training steps.
#[derive(Default)]
pub struct StepTimes {
    /// The loss of each step.
    pub losses: Vec<f64>,
    /// Seconds of each step, by the device's clock.
    pub each: Vec<f64>,
    /// Seconds per step of each block of steps, by the wall clock.
    pub wall: Vec<f64>,
    /// Peak memory of tensors on a GPU.
    pub peak_bytes: Option<f64>,
}

impl Baseline {
    /// Takes a training step for each length and learning rate, on consecutive tokens.
    pub fn steps(&mut self, lengths: &[usize], rates: &[f64]) -> Result<StepTimes, String> {
        let answer = self.ask(&json!({"lengths": lengths, "rates": rates}))?;
        let wall = answer["seconds"].as_f64().unwrap_or(f64::NAN) / lengths.len() as f64;
        let steps = StepTimes {
            losses: numbers(&answer["losses"]),
            each: numbers(&answer["step_seconds"]),
            wall: vec![wall],
            peak_bytes: answer["peak_bytes"].as_f64(),
        };
        if steps.losses.len() == lengths.len() && steps.each.len() == lengths.len() {
            Ok(steps)
        } else {
            Err(format!("it did not report {} steps", lengths.len()))
        }
    }

    /// Resets weights, optimizer and state, and sets the dropout.
    pub fn reset(&mut self, dropout: f64) -> Result<(), String> {
        self.ask(&json!({"reset": dropout})).map(drop)
    }

    /// Evaluates the first `words` tokens in windows. Returns the sum of the losses in nats, and seconds.
    pub fn evaluate(&mut self, window: usize, words: usize) -> Result<(f64, f64), String> {
        let answer = self.ask(&json!({"evaluate": window, "words": words}))?;
        let number = |name: &str| answer[name].as_f64();
        let both = number("loss_sum").zip(number("seconds"));
        both.ok_or_else(|| "its answer has no loss or no time".into())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Value;

    use super::super::{BaselineFlags, Baselines, started};
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity").join(name)
    }

    /// Compares at least 20 steps of each mode from the fixtures' weights with
    /// tests/parity/reference.py. On the CPU nothing is rounded to TF32.
    #[test]
    #[ignore = "needs a Python with torch, $QRNN_PYTHON or python3"]
    fn with_torch_the_baselines_take_the_steps_of_the_reference() {
        let expected = std::fs::read(fixture("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let expected = numbers(&expected["train"]["adam"]);
        let corpus = qrnn::data::Corpus::from_text(fixture("text")).unwrap();
        let ids = corpus.tokens(qrnn::data::Split::Train);
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(fixture("init.safetensors"), folder.path().join("model.safetensors"))
            .unwrap();
        write_tokens(folder.path(), ids).unwrap();
        let setting = Setting {
            folder: folder.path(),
            device: Device::Cpu,
            splits: &[20, 35, 50],
            batch: 3,
            dropout: 0.0,
            clip: 0.0,
        };
        let mut baselines = started(setting.specs(&MODES.map(|(name, _)| name.to_owned())));
        for (baseline, tolerance) in baselines.live.iter_mut().zip([1e-4, 2e-2, 1e-4, 1e-4, 2e-2]) {
            let n = expected.len();
            assert!(n >= 20);
            let take =
                |baseline: &mut Baseline| baseline.steps(&vec![7; n], &vec![1e-2; n]).unwrap();
            let steps = take(baseline);
            assert!(steps.wall[0] * n as f64 >= steps.each.iter().sum::<f64>() * 0.99);
            for (ours, theirs) in steps.losses.iter().zip(&expected) {
                let name = baseline.name;
                assert!((ours - theirs).abs() <= tolerance, "{name}: {ours} and {theirs}");
            }
            // After a reset, without and with dropout.
            baseline.reset(0.0).unwrap();
            let again = take(baseline).losses;
            assert!(again.iter().zip(&steps.losses).all(|(a, b)| (a - b).abs() < tolerance));
            baseline.reset(0.5).unwrap();
            let dropped = take(baseline).losses;
            assert!(dropped.iter().zip(&steps.losses).any(|(a, b)| (a - b).abs() > 1e-3));
        }
    }

    #[test]
    fn a_missing_python_gives_no_baselines_and_one_that_exits_is_left_out_with_its_reason() {
        let setting = Setting {
            folder: Path::new("/"),
            device: Device::Cpu,
            splits: &[],
            batch: 1,
            dropout: 0.0,
            clip: 0.0,
        };
        let start = |python: &str| {
            let flags = BaselineFlags { python: python.into(), peer_limit: 300.0 };
            Baselines::spawn(&flags, setting.specs(&["tuned".into()]), Device::Cpu).unwrap()
        };
        let none = start("/no/such/python");
        assert!(none.live.is_empty() && none.left_out.is_empty());
        let closing = none.closing();
        let expected =
            "/no/such/python has no torch; name a Python that has torch 2.11 with --python";
        assert!(closing.contains(expected), "{closing}");
        let ended = start("/bin/false");
        assert!(ended.live.is_empty());
        let reason = &ended.left_out[0].reason;
        assert!(reason.contains("ended, exit status: 1"), "{reason}");
    }
}
