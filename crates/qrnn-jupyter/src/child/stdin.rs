//! Lines that cells read, asked of the notebook's user.

use std::io::{PipeWriter, Write};
use std::sync::{Mutex, MutexGuard};

use jupyter_protocol::JupyterMessage;
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use crate::child::launch;
use crate::protocol::message::{self, Publisher, Request};

/// Asks the one who sent the running cell.
#[derive(Debug)]
pub struct Asker {
    state: Mutex<State>,
    requests: UnboundedSender<JupyterMessage>,
    publisher: Publisher,
}

#[derive(Debug)]
struct State {
    /// The running cell's request.
    cell: Option<Request>,
    /// The evaluation process and its standard input.
    process: Option<u32>,
    stdin: Option<PipeWriter>,
    /// A question that has no answer yet.
    asked: bool,
    /// The process was seen waiting at the last look.
    waited: bool,
}

impl Asker {
    pub fn new(requests: UnboundedSender<JupyterMessage>, publisher: Publisher) -> Self {
        let state = State { cell: None, process: None, stdin: None, asked: false, waited: false };
        Self { state: Mutex::new(state), requests, publisher }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The evaluation process's standard input, which all such processes share.
    pub fn attach(&self, stdin: PipeWriter) {
        self.lock().stdin = Some(stdin);
    }

    pub fn begin(&self, cell: &Request, process: u32) {
        let mut state = self.lock();
        state.cell = Some(cell.clone());
        state.process = Some(process);
        state.asked = false;
        state.waited = false;
    }

    /// The cell has ended; an answer that comes now is for nobody.
    pub fn forget(&self) {
        let mut state = self.lock();
        state.cell = None;
        if std::mem::take(&mut state.asked)
            && let Some(stdin) = &state.stdin
        {
            launch::forget_input(stdin);
        }
    }

    pub fn ask(&self, prompt: &str, password: bool) {
        let mut state = self.lock();
        let Some(cell) = state.cell.clone().filter(|_| !state.asked) else { return };
        if cell.flag("allow_stdin", true) {
            state.asked = true;
            let content = json!({ "prompt": prompt, "password": password });
            let header = Some(&cell.header);
            let question = message::new("input_request", content, header, cell.identities.clone());
            let _ = self.requests.send(question);
        } else {
            let text = "[this notebook's front end takes no input; the cell reads an empty line]\n";
            let content = json!({ "name": "stderr", "text": text });
            self.publisher.publish("stream", content, Some(&cell.header));
            state.write("");
        }
    }

    /// The user's answer.
    pub fn answer(&self, value: &str) {
        let mut state = self.lock();
        if std::mem::take(&mut state.asked) {
            state.write(value);
        }
    }

    /// Whether the cell waits for standard input, seen twice in a row, and nobody was asked.
    pub fn is_waiting(&self) -> bool {
        let mut state = self.lock();
        let waits = !state.asked && state.process.is_some_and(reads_standard_input);
        let waited = std::mem::replace(&mut state.waited, waits);
        waits && waited && state.stdin.as_ref().is_some_and(is_empty)
    }
}

impl State {
    fn write(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            // A process that has ended reads no more.
            let _ = stdin.write_all(format!("{line}\n").as_bytes());
        }
        self.waited = false;
    }
}

/// Whether the process's main thread is in `read(0, ..)` at this moment.
fn reads_standard_input(process: u32) -> bool {
    // The system call's number, then its arguments in hexadecimal.
    const READ_ZERO: &str = "0 0x0 ";
    std::fs::read_to_string(format!("/proc/{process}/syscall"))
        .is_ok_and(|call| call.starts_with(READ_ZERO))
}

fn is_empty(pipe: &PipeWriter) -> bool {
    rustix::io::ioctl_fionread(pipe).is_ok_and(|bytes| bytes == 0)
}
