//! The standard input of cells, which the notebook's user types.

use std::fs::File;
use std::io::{PipeWriter, Write};
use std::os::fd::AsRawFd;

use jupyter_protocol::JupyterMessage;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use crate::protocol::iopub::Publisher;
use crate::protocol::message::{self, Request};

/// Sends input requests to the front end that sent the running cell.
pub struct StdinChannel {
    state: Mutex<State>,
    requests: UnboundedSender<JupyterMessage>,
    publisher: Publisher,
}

#[derive(Debug, Default)]
struct State {
    /// The running cell's request.
    cell: Option<Request>,
    /// The child process.
    process: Option<u32>,
    stdin: Option<PipeWriter>,
    /// A request is not answered yet.
    requested: bool,
    /// Whether the process was waiting when [`StdinChannel::is_awaited`] was last called.
    waited: bool,
}

impl StdinChannel {
    pub fn new(requests: UnboundedSender<JupyterMessage>, publisher: Publisher) -> Self {
        Self { state: Mutex::default(), requests, publisher }
    }

    /// Sets the pipe to the child processes.
    pub fn attach(&self, stdin: PipeWriter) {
        self.state.lock().stdin = Some(stdin);
    }

    pub fn begin(&self, cell: &Request, process: u32) {
        let mut state = self.state.lock();
        state.cell = Some(cell.clone());
        state.process = Some(process);
        state.requested = false;
        state.waited = false;
    }

    /// The cell has ended. An answer that comes later is dropped.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.cell = None;
        if std::mem::take(&mut state.requested)
            && let Some(stdin) = &state.stdin
        {
            discard_unread(stdin);
        }
    }

    /// Asks the user for a line.
    pub fn request(&self, prompt: &str, password: bool) {
        let mut state = self.state.lock();
        let Some(cell) = state.cell.clone().filter(|_| !state.requested) else { return };
        let header = Some(&cell.header);
        if cell.flag("allow_stdin", true) {
            state.requested = true;
            let content = json!({ "prompt": prompt, "password": password });
            let request = message::new("input_request", content, header, cell.identities.clone());
            let _ = self.requests.send(request);
        } else {
            let text = "[this front end takes no input; the cell reads an empty line]\n";
            self.publisher.publish("stream", json!({ "name": "stderr", "text": text }), header);
            state.write("");
        }
    }

    pub fn answer(&self, value: &str) {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.requested) {
            state.write(value);
        }
    }

    /// Whether the cell waits for standard input without a request, in two successive calls.
    pub fn is_awaited(&self) -> bool {
        let mut state = self.state.lock();
        let waits = !state.requested && state.process.is_some_and(reads_standard_input);
        let waited = std::mem::replace(&mut state.waited, waits);
        waits && waited && state.stdin.as_ref().is_some_and(is_empty)
    }
}

impl State {
    fn write(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            // Fails if the process has ended.
            let _ = stdin.write_all(format!("{line}\n").as_bytes());
        }
        self.waited = false;
    }
}

/// Whether the process's main thread is in the system call `read(0, ..)`.
fn reads_standard_input(process: u32) -> bool {
    // The number of the system call and its first argument.
    const READ_ZERO: &str = "0 0x0 ";
    std::fs::read_to_string(format!("/proc/{process}/syscall"))
        .is_ok_and(|call| call.starts_with(READ_ZERO))
}

fn is_empty(pipe: &PipeWriter) -> bool {
    rustix::io::ioctl_fionread(pipe).is_ok_and(|bytes| bytes == 0)
}

/// Removes what a process that has ended left unread. The kernel has the write end, and opens the
/// read end through /proc.
fn discard_unread(stdin: &PipeWriter) {
    let path = format!("/proc/self/fd/{}", stdin.as_raw_fd());
    let Ok(reader) = File::options().read(true).open(path) else { return };
    let Ok(flags) = rustix::fs::fcntl_getfl(&reader) else { return };
    if rustix::fs::fcntl_setfl(&reader, flags | rustix::fs::OFlags::NONBLOCK).is_ok() {
        let mut buffer = [0; 4096];
        while matches!(rustix::io::read(&reader, &mut buffer), Ok(1..)) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::pipe;

    #[test]
    fn unread_input_is_discarded() {
        let (mut reader, mut writer) = pipe().unwrap();
        writer.write_all(b"left over\n").unwrap();
        discard_unread(&writer);
        writer.write_all(b"new\n").unwrap();
        drop(writer);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(text, "new\n");
    }
}
