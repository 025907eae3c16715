//! Training steps and evaluations by baselines.

use std::path::Path;

use clap::ValueEnum;
use qrnn::model::QrnnLm;
use qrnn::{Error, Result as QrnnResult};
use serde_json::json;
use tch::Device;

use super::{Baseline, BaselineSpec, device, numbers};

/// The implementation of a baseline's training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Eager, single precision, a loop over time.
    Fp32,
    /// The same, bf16 by autocast.
    Bf16,
    /// Eager, single precision, the published pooling kernel.
    Published,
    /// The published step with TF32 allowed.
    Tf32,
    /// torch.compile, bf16, fused Adam.
    Tuned,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Published => "published",
            Self::Tf32 => "tf32",
            Self::Tuned => "tuned",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|mode| mode.name() == name)
    }

    /// Whether its losses are those of fp32.
    pub fn is_reference(&self) -> bool {
        matches!(self, Self::Fp32 | Self::Published)
    }

    /// The name in text.
    fn label(self) -> &'static str {
        match self {
            Self::Fp32 => "eager, fp32",
            Self::Bf16 => "eager, bf16 by autocast",
            Self::Published => "published step, eager, fp32",
            Self::Tf32 => "published step, TF32 allowed",
            Self::Tuned => "tuned: torch.compile, bf16, fused Adam",
        }
    }
}

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
    /// The baselines of these modes.
    pub fn specs(&self, modes: &[Mode]) -> Vec<BaselineSpec> {
        let spec = |mode: &Mode| BaselineSpec {
            name: mode.name(),
            label: mode.label(),
            config: json!({"work": "step", "mode": mode.name(), "device": device(self.device),
                "inputs": self.folder, "splits": self.splits, "batch": self.batch,
                "dropout": self.dropout, "clip": self.clip}),
        };
        modes.iter().map(spec).collect()
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
pub struct Steps {
    pub losses: Vec<f64>,
    /// Seconds of all steps, by the wall clock.
    pub seconds: f64,
    /// Seconds of each step, by the device's clock.
    pub each: Vec<f64>,
    /// Peak memory of tensors on a GPU.
    pub peak_bytes: Option<f64>,
}

impl Baseline {
    /// Takes a training step for each length and learning rate, on consecutive tokens.
    ///
    /// # Errors
    /// The reason if the baseline failed.
    pub fn steps(&mut self, lengths: &[usize], rates: &[f64]) -> Result<Steps, String> {
        let answer = self.ask(&json!({"lengths": lengths, "rates": rates}))?;
        let steps = Steps {
            losses: numbers(&answer["losses"]),
            seconds: answer["seconds"].as_f64().unwrap_or(f64::NAN),
            each: numbers(&answer["step_seconds"]),
            peak_bytes: answer["peak_bytes"].as_f64(),
        };
        if steps.losses.len() == lengths.len() && steps.each.len() == lengths.len() {
            Ok(steps)
        } else {
            Err(format!("it did not report {} steps", lengths.len()))
        }
    }

    /// Resets weights, optimizer and state, and sets the dropout.
    ///
    /// # Errors
    /// The reason if the baseline failed.
    pub fn reset(&mut self, dropout: f64) -> Result<(), String> {
        self.ask(&json!({"reset": dropout})).map(drop)
    }

    /// Evaluates the first `words` tokens in windows. Returns the sum of the losses in nats, and seconds.
    ///
    /// # Errors
    /// The reason if the baseline failed.
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
        let mut baselines = started(setting.specs(Mode::value_variants()));
        for (baseline, tolerance) in baselines.live.iter_mut().zip([1e-4, 2e-2, 1e-4, 1e-4, 2e-2]) {
            let n = expected.len();
            assert!(n >= 20);
            let take =
                |baseline: &mut Baseline| baseline.steps(&vec![7; n], &vec![1e-2; n]).unwrap();
            let steps = take(baseline);
            assert!(steps.seconds >= steps.each.iter().sum::<f64>() * 0.99);
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
            Baselines::spawn(&flags, setting.specs(&[Mode::Tuned]), Device::Cpu).unwrap()
        };
        let none = start("/no/such/python");
        assert!(none.live.is_empty() && none.left_out.is_empty());
        assert!(none.closing().contains("/no/such/python has no torch"), "{}", none.closing());
        let ended = start("/bin/false");
        assert!(ended.live.is_empty());
        let reason = &ended.left_out[0].reason;
        assert!(reason.contains("ended, exit status: 1"), "{reason}");
    }
}
