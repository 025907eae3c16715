//! The same model in plain PyTorch, in a process of its own that takes one step at a time.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use qrnn::model::QrnnLm;
use qrnn::{Error, Result};
use serde_json::Value;

/// What both models start from: a folder with the weights and the ids.
pub fn write_inputs(folder: &Path, model: &QrnnLm, ids: &[u32]) -> Result<()> {
    model.save_weights(folder.join("model.safetensors"))?;
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
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
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
        let mut command = Command::new(python);
        command.arg("-c").arg(include_str!("torch_model.py")).arg(reading.folder);
        command.arg(splits.join(","));
        command.args([reading.batch.to_string(), reading.bptt.to_string()]);
        command.arg(if reading.bf16 { "bf16" } else { "fp32" });
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            child => child.map_err(Error::io(python, "run"))?,
        };
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(python));
        };
        let mut model =
            Self { child, commands, answers: BufReader::new(answers), version: String::new() };
        let hello = model.answer()?;
        let Some(version) = hello["torch"].as_str() else { return Ok(None) };
        model.version = format!("PyTorch {version}, {} threads", hello["threads"]);
        Ok(Some(model))
    }

    /// Gives a command that has no answer.
    pub fn tell(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands, "{command}").map_err(Error::io("python", "write to"))
    }

    /// Runs `step` or `evaluate` on the next window.
    pub fn run(&mut self, command: &str) -> Result<Answer> {
        self.tell(command)?;
        let answer = self.answer()?;
        match (answer["seconds"].as_f64(), answer["loss"].as_f64()) {
            (Some(seconds), Some(loss)) => Ok(Answer { seconds, loss }),
            _ => Err(failed("python")),
        }
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(Error::io("python", "read from"))?;
        serde_json::from_str(&line).map_err(|_| failed("python"))
    }
}

impl Drop for TorchModel {
    fn drop(&mut self) {
        // It may be in the middle of a step, whose result nobody wants.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(python: &str) -> Error {
    Error::usage(
        format!("--python {python}"),
        "the PyTorch model failed; its message is above",
        "name a Python that has torch 2.11, or one without torch to measure ours alone",
    )
}
