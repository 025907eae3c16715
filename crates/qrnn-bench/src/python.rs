//! A Python process that reads commands from standard input and answers with lines of JSON.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qrnn::terminal;
use qrnn::{Error, Result};
use serde_json::Value;

/// How long to wait for the exit of a process that closed its output.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// A running process, killed when dropped.
pub struct Python {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
    /// The last line of standard error that is not blank, and whether it is closed.
    stderr: Arc<Mutex<(String, bool)>>,
    /// Timeout of an answer.
    limit: Duration,
}

impl Python {
    /// Starts the Python of this name without waiting; `None` if there is no such Python. `limit`
    /// is the timeout of an answer.
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
        let (Some(commands), Some(stdout), Some(errors)) = pipes else {
            return Err(Error::config("--python", name, "it has no pipes", "try again"));
        };
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = Arc::new(Mutex::new((String::new(), false)));
        let shared = stderr.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(|line| line.ok()) {
                terminal::note(&line);
                if !line.trim().is_empty() {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).0 = line;
                }
            }
            shared.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        });
        Ok(Some(Self { child, commands, answers, stderr, limit }))
    }

    /// Sends a command.
    pub fn tell(&mut self, command: &str) -> std::result::Result<(), String> {
        writeln!(self.commands, "{command}").map_err(|_| self.ended())
    }

    /// Waits for the next answer.
    pub fn answer(&mut self) -> std::result::Result<Value, String> {
        let line = match self.answers.recv_timeout(self.limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("no answer within {} s", self.limit.as_secs_f64()));
            }
            Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
        };
        let answer: Value = serde_json::from_str(&line).map_err(|_| {
            format!("its answer is not JSON: {}", line.chars().take(80).collect::<String>())
        })?;
        match answer["failed"].as_str() {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(answer),
        }
    }

    /// Sends a command and waits for its answer.
    pub fn ask(&mut self, command: &Value) -> std::result::Result<Value, String> {
        self.tell(&command.to_string())?;
        self.answer()
    }

    /// The exit status of the process and its last line of standard error.
    fn ended(&mut self) -> String {
        let start = Instant::now();
        let mut status = None;
        while start.elapsed() < EXIT_TIMEOUT {
            status = self.child.try_wait().ok().flatten();
            let (_, closed) = *self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
            if status.is_some() && closed {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = status.map_or("its output is closed".into(), |status| status.to_string());
        match &*self.stderr.lock().unwrap_or_else(PoisonError::into_inner) {
            (last, _) if last.is_empty() => format!("its Python ended, {status}"),
            (last, _) => format!("its Python ended, {status}: {}", last.trim()),
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may still be running a step.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
