//! A Python process that is told what to do, a line at a time, and answers with lines of JSON.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qrnn::terminal;
use qrnn::{Error, Result};
use serde_json::Value;

/// Lines of standard error that are kept to say why the process ended.
const KEPT: usize = 20;

/// How long a process that closed its output may take to end.
const END: Duration = Duration::from_secs(2);

/// The process; it ends with this value.
pub struct Python {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
    /// Its last lines on standard error, and whether that has ended.
    said: Arc<Mutex<(VecDeque<String>, bool)>>,
    /// The longest wait for an answer.
    limit: Duration,
}

impl Python {
    /// Starts a program by the Python of this name, and waits for nothing; `None` where there is no such
    /// Python. No answer may take longer than `limit`.
    ///
    /// # Errors
    /// [`Error::Io`] where the process cannot be started.
    pub fn spawn(
        name: &str,
        limit: Duration,
        arguments: impl FnOnce(&mut Command),
    ) -> Result<Option<Self>> {
        let mut command = Command::new(name);
        arguments(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            child => child.map_err(Error::io(name, "run"))?,
        };
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(commands), Some(stdout), Some(stderr)) = pipes else {
            return Err(Error::usage(format!("--python {name}"), "it has no pipes", "try again"));
        };
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let said = Arc::new(Mutex::new((VecDeque::new(), false)));
        let kept = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(|line| line.ok()) {
                terminal::note(&line);
                let (lines, _) = &mut *kept.lock().unwrap_or_else(PoisonError::into_inner);
                lines.truncate(KEPT - 1);
                lines.push_front(line);
            }
            kept.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        });
        Ok(Some(Self { child, commands, answers, said, limit }))
    }

    /// Gives a command.
    ///
    /// # Errors
    /// The reason where the process has ended.
    pub fn tell(&mut self, command: &str) -> std::result::Result<(), String> {
        writeln!(self.commands, "{command}").map_err(|_| self.ended())
    }

    /// The next answer.
    ///
    /// # Errors
    /// The reason where the process failed: it says so, it ended, or its time is over.
    pub fn answer(&mut self) -> std::result::Result<Value, String> {
        let line = match self.answers.recv_timeout(self.limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("no answer within {} s", self.limit.as_secs_f64()));
            }
            Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
        };
        let answer: Value = serde_json::from_str(&line).map_err(|_| {
            format!("its answer is no JSON: {}", line.chars().take(80).collect::<String>())
        })?;
        match answer["failed"].as_str() {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(answer),
        }
    }

    /// A command and its answer.
    ///
    /// # Errors
    /// The reason where the process failed.
    pub fn ask(&mut self, command: &Value) -> std::result::Result<Value, String> {
        self.tell(&command.to_string())?;
        self.answer()
    }

    /// How the process ended, and what it said last.
    fn ended(&mut self) -> String {
        let since = Instant::now();
        let mut status = None;
        while since.elapsed() < END {
            status = self.child.try_wait().ok().flatten();
            let (_, whole) = *self.said.lock().unwrap_or_else(PoisonError::into_inner);
            if status.is_some() && whole {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let (lines, _) = &*self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let last = lines.iter().find(|line| !line.trim().is_empty());
        let status = status.map_or("its output is closed".into(), |status| status.to_string());
        let last = last.map_or(String::new(), |line| format!(": {}", line.trim()));
        format!("its Python ended, {status}{last}")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may be in the middle of a step, whose result nobody wants.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that had to answer, as an error.
pub fn failed(name: &str, reason: String) -> Error {
    Error::usage(
        format!("--python {name}"),
        format!("the PyTorch model failed: {reason}"),
        "name a Python that has torch 2.11, or one without torch to measure ours alone",
    )
}
