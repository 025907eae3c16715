//! The same model in PyTorch on the CPU, in another process that takes one step at a time.

use std::path::Path;
use std::time::Duration;

use qrnn::model::QrnnLm;
use qrnn::{Error, Result};

use crate::python::{self, Python};

/// Timeout of a step or window on a CPU.
const LIMIT: Duration = Duration::from_secs(3600);

/// Writes the inputs of both models to a folder: model.safetensors and ids.bin.
pub fn write_inputs(folder: &Path, model: &QrnnLm, tokens: &[u32]) -> Result<()> {
    model.save_weights(folder.join("model.safetensors"))?;
    write_tokens(folder, tokens)
}

/// Writes tokens to ids.bin as little-endian 32-bit integers.
pub fn write_tokens(folder: &Path, tokens: &[u32]) -> Result<()> {
    let path = folder.join("ids.bin");
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    std::fs::write(&path, bytes).map_err(Error::io(&path, "write"))
}

/// Settings of the model.
pub struct Settings<'a> {
    /// Contains the files of [`write_inputs`].
    pub folder: &'a Path,
    /// First tokens of the softmax's tails.
    pub splits: &'a [usize],
    pub batch: usize,
    pub bptt: usize,
    /// bf16 by autocast, otherwise fp32.
    pub bf16: bool,
}

/// The running process.
pub struct TorchModel {
    name: String,
    python: Python,
    pub version: String,
}

/// The time of a command and its loss.
pub struct Answer {
    pub seconds: f64,
    pub loss: f64,
}

impl TorchModel {
    /// Starts the process; `None` if there is no such Python, or it has no torch.
    ///
    /// # Errors
    /// [`Error::Config`] if the process fails.
    pub fn start(python: &str, settings: &Settings<'_>) -> Result<Option<Self>> {
        let splits: Vec<String> = settings.splits.iter().map(usize::to_string).collect();
        let process = Python::spawn(python, LIMIT, |command| {
            command.arg("-c").arg(include_str!("torch_model.py")).arg(settings.folder);
            command.arg(splits.join(","));
            command.args([settings.batch.to_string(), settings.bptt.to_string()]);
            command.arg(if settings.bf16 { "bf16" } else { "fp32" });
        })?;
        let Some(mut process) = process else { return Ok(None) };
        let hello = process.answer().map_err(|reason| python::failed(python, reason))?;
        Ok(hello["torch"].as_str().map(|version| Self {
            name: python.into(),
            python: process,
            version: format!("PyTorch {version}, {} threads", hello["threads"]),
        }))
    }

    /// Sends a command that has no answer.
    pub fn tell(&mut self, command: &str) -> Result<()> {
        self.python.tell(command).map_err(|reason| python::failed(&self.name, reason))
    }

    /// Runs `step` or `evaluate` on the next window.
    pub fn run(&mut self, command: &str) -> Result<Answer> {
        self.tell(command)?;
        let failed = |reason| python::failed(&self.name, reason);
        let answer = self.python.answer().map_err(failed)?;
        match (answer["seconds"].as_f64(), answer["loss"].as_f64()) {
            (Some(seconds), Some(loss)) => Ok(Answer { seconds, loss }),
            _ => Err(failed(format!("its answer is {answer}"))),
        }
    }
}
