//! The kernel's end of the rust-analyzer process.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Instant;

use crate::env_vars;
use crate::error::{Error, Result};
use crate::rust_analyzer::wire::{Answer, Ask, Found, Question, SUBCOMMAND};

pub struct Client {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<Answer>,
    last_id: u64,
    /// The number of questions without an answer.
    open: usize,
}

#[derive(Debug, PartialEq)]
pub enum NoAnswer {
    Timeout,
    /// The process has ended.
    Ended,
}

impl Client {
    /// Starts the process; it writes a manifest to `folder`.
    pub fn start(program: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(SUBCOMMAND).arg(folder).current_dir(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // SIGINT from a terminal is for the cell.
        command.process_group(0);
        // The process asks cargo and rustc; it does not compile cells.
        for name in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUST_SRC_PATH"] {
            command.env_remove(name);
        }
        command.env_remove(env_vars::WRAPPER);
        // It needs hundreds of MB. Large steps save time when they are allocated, large pages when
        // they are read.
        let tunables =
            "glibc.malloc.arena_max=2:glibc.malloc.top_pad=67108864:glibc.malloc.hugetlb=1";
        command.env("GLIBC_TUNABLES", tunables);
        let no_pipe = || Error::system("talk to rust-analyzer")(std::io::ErrorKind::BrokenPipe);
        let mut child = command.spawn().map_err(Error::system("start rust-analyzer"))?;
        let questions = child.stdin.take().ok_or_else(no_pipe)?;
        let output = child.stdout.take().ok_or_else(no_pipe)?;
        let (sender, answers) = mpsc::channel();
        let read = move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(answer) = serde_json::from_str(&line)
                    && sender.send(answer).is_err()
                {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("rust-analyzer".into())
            .spawn(read)
            .map_err(Error::system("start a thread"))?;
        Ok(Self { child, questions, answers, last_id: 0, open: 0 })
    }

    /// Asks without waiting. Returns the question's id, or `None` if the process has ended.
    pub fn send(&mut self, dependencies: &str, ask: Ask) -> Option<u64> {
        self.last_id += 1;
        let question = Question { id: self.last_id, dependencies: dependencies.to_owned(), ask };
        let line = serde_json::to_string(&question).ok()?;
        writeln!(self.questions, "{line}").and_then(|()| self.questions.flush()).ok()?;
        self.open += 1;
        Some(self.last_id)
    }

    /// Asks and waits for the answer.
    pub fn ask(
        &mut self,
        dependencies: &str,
        ask: Ask,
        deadline: Instant,
    ) -> Result<Found, NoAnswer> {
        let id = self.send(dependencies, ask).ok_or(NoAnswer::Ended)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) => {
                    self.open = self.open.saturating_sub(1);
                    // Answers to earlier questions came too late.
                    if answer.id == id {
                        return Ok(answer.found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(NoAnswer::Timeout),
                Err(RecvTimeoutError::Disconnected) => return Err(NoAnswer::Ended),
            }
        }
    }

    /// Whether every question has its answer.
    pub fn is_idle(&mut self) -> bool {
        self.open = self.open.saturating_sub(self.answers.try_iter().count());
        self.open == 0
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
