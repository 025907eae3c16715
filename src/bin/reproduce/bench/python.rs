//! A Python process that is told what to do, a line at a time, and answers with lines of JSON.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use qrnn::{Error, Result};
use serde_json::Value;

/// The process; it ends with this value.
pub struct Python {
    name: String,
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Python {
    /// Starts a program by the Python of this name, and returns its first answer with it; `None` where
    /// there is no such Python, or no torch in it.
    ///
    /// # Errors
    /// [`Error::Usage`] where the process fails.
    pub fn start(
        name: &str,
        arguments: impl FnOnce(&mut Command),
    ) -> Result<Option<(Self, Value)>> {
        let mut command = Command::new(name);
        arguments(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            child => child.map_err(Error::io(name, "run"))?,
        };
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(name));
        };
        let answers = BufReader::new(answers);
        let mut python = Self { name: name.into(), child, commands, answers };
        let hello = python.answer()?;
        Ok(hello["torch"].is_string().then_some((python, hello)))
    }

    /// Gives a command.
    ///
    /// # Errors
    /// [`Error::Io`] where the process has ended.
    pub fn tell(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands, "{command}").map_err(Error::io(&self.name, "write to"))
    }

    /// The next answer.
    ///
    /// # Errors
    /// [`Error::Usage`] where the process failed.
    pub fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(Error::io(&self.name, "read from"))?;
        serde_json::from_str(&line).map_err(|_| self.failed())
    }

    /// What an answer that cannot be used means.
    pub fn failed(&self) -> Error {
        failed(&self.name)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may be in the middle of a step, whose result nobody wants.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(name: &str) -> Error {
    Error::usage(
        format!("--python {name}"),
        "the PyTorch model failed; its message is above",
        "name a Python that has torch 2.11, or one without torch to measure ours alone",
    )
}
