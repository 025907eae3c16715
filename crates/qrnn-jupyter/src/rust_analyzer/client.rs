//! The process of rust-analyzer as its owner sees it: started, asked, ended.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::rust_analyzer::server::ROLE;
use crate::rust_analyzer::wire::{Answer, Ask, Found, Question};
use crate::rustc::wrapper;

pub struct Engine {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<Answer>,
    /// The number of the last question.
    asked: u64,
    /// So many questions have no answer yet.
    open: usize,
}

/// Why there is no answer.
#[derive(Debug, PartialEq)]
pub enum Silence {
    /// Not in time.
    Late,
    /// The process has ended.
    Ended,
}

impl Engine {
    /// Starts it; `folder` is for its manifest.
    ///
    /// # Errors
    /// Where there can be no more processes.
    pub fn start(program: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(ROLE).arg(folder).current_dir(folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // An interrupt from a terminal is for the cell.
        command.process_group(0);
        // Cargo and rustc are asked here, not told to compile a cell.
        command.env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
        command.env_remove(wrapper::ROLE).env_remove("RUST_SRC_PATH");
        // Memory is needed by the hundred megabytes; taken piece by piece that costs time, and in small
        // pages it is slow to walk through.
        let tunables =
            "glibc.malloc.arena_max=2:glibc.malloc.top_pad=67108864:glibc.malloc.hugetlb=1";
        command.env("GLIBC_TUNABLES", tunables);
        let no_pipe = || Error::system("ask rust-analyzer")(std::io::ErrorKind::BrokenPipe);
        let mut child = command.spawn().map_err(Error::system("start rust-analyzer"))?;
        let questions = child.stdin.take().ok_or_else(no_pipe)?;
        let output = child.stdout.take().ok_or_else(no_pipe)?;
        let (heard, answers) = mpsc::channel();
        let hear = move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(answer) = serde_json::from_str(&line)
                    && heard.send(answer).is_err()
                {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("rust-analyzer".into())
            .spawn(hear)
            .map_err(Error::system("start a thread"))?;
        Ok(Self { child, questions, answers, asked: 0, open: 0 })
    }

    /// Asks, and does not wait. The question's number; none where the process has ended.
    pub fn send(&mut self, dependencies: &str, ask: Ask) -> Option<u64> {
        self.asked += 1;
        let question = Question { id: self.asked, dependencies: dependencies.to_owned(), ask };
        let line = serde_json::to_string(&question).ok()?;
        writeln!(self.questions, "{line}").and_then(|()| self.questions.flush()).ok()?;
        self.open += 1;
        Some(self.asked)
    }

    /// Asks, and waits for the answer until `deadline`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn ask(
        &mut self,
        dependencies: &str,
        ask: Ask,
        deadline: Instant,
    ) -> Result<Found, Silence> {
        let id = self.send(dependencies, ask).ok_or(Silence::Ended)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) => {
                    self.open = self.open.saturating_sub(1);
                    // Others are to questions that nobody waits for any more.
                    if answer.id == id {
                        return Ok(answer.found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(Silence::Late),
                Err(RecvTimeoutError::Disconnected) => return Err(Silence::Ended),
            }
        }
    }

    /// Whether it has answered all that it was asked.
    pub fn is_idle(&mut self) -> bool {
        self.open = self.open.saturating_sub(self.answers.try_iter().count());
        self.open == 0
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
