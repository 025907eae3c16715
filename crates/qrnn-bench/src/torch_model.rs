//! The same model in plain PyTorch, in a process of its own that takes one step at a time.

use std::path::Path;
use std::time::Duration;

use qrnn::model::QrnnLm;
use qrnn::{Error, Result};

use crate::python::{self, Python};

/// Longer than any step or window takes on a CPU.
const LIMIT: Duration = Duration::from_secs(3600);

/// What both models start from: a folder with the weights and the ids.
pub fn write_inputs(folder: &Path, model: &QrnnLm, ids: &[u32]) -> Result<()> {
    model.save_weights(folder.join("model.safetensors"))?;
    write_ids(folder, ids)
}

/// ids.bin, as 32-bit numbers.
pub fn write_ids(folder: &Path, ids: &[u32]) -> Result<()> {
    let path = folder.join("ids.bin");
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    std::fs::write(&path, bytes).map_err(Error::io(&path, "write"))
}

/// How the model is to be read.
pub struct Reading<'a> {
    /// Holds what [`write_inputs`] wrote.
    pub folder: &'a Path,
    /// First words of the softmax's tails.
    pub splits: &'a [usize],
    pub batch: usize,
    pub bptt: usize,
    /// By autocast, else single precision.
    pub bf16: bool,
}

/// The process.
pub struct TorchModel {
    name: String,
    python: Python,
    pub version: String,
}

/// What one command took, and the loss that it found.
pub struct Answer {
    pub seconds: f64,
    pub loss: f64,
}

impl TorchModel {
    /// Starts the process; `None` where there is no such Python, or no torch in it.
    ///
    /// # Errors
    /// [`Error::Usage`] where the process fails.
    pub fn start(python: &str, reading: &Reading<'_>) -> Result<Option<Self>> {
        let splits: Vec<String> = reading.splits.iter().map(usize::to_string).collect();
        let started = Python::spawn(python, LIMIT, |command| {
            command.arg("-c").arg(include_str!("torch_model.py")).arg(reading.folder);
            command.arg(splits.join(","));
            command.args([reading.batch.to_string(), reading.bptt.to_string()]);
            command.arg(if reading.bf16 { "bf16" } else { "fp32" });
        })?;
        let Some(mut started) = started else { return Ok(None) };
        let hello = started.answer().map_err(|reason| python::failed(python, reason))?;
        Ok(hello["torch"].as_str().map(|version| Self {
            name: python.into(),
            python: started,
            version: format!("PyTorch {version}, {} threads", hello["threads"]),
        }))
    }

    /// Gives a command that has no answer.
    pub fn tell(&mut self, command: &str) -> Result<()> {
        self.python.tell(command).map_err(|reason| python::failed(&self.name, reason))
    }

    /// Runs `step` or `evaluate` on the next window.
    pub fn run(&mut self, command: &str) -> Result<Answer> {
        self.tell(command)?;
        let wrong = |reason| python::failed(&self.name, reason);
        let answer = self.python.answer().map_err(wrong)?;
        match (answer["seconds"].as_f64(), answer["loss"].as_f64()) {
            (Some(seconds), Some(loss)) => Ok(Answer { seconds, loss }),
            _ => Err(wrong(format!("its answer is {answer}"))),
        }
    }
}
