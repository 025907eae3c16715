//! A download while it goes, in a notebook.

use super::Task;
use crate::data::download::{Terminal, Watch};
use crate::notebook::channel;
use crate::terminal;

/// A line that changes while bytes arrive, and one for whatever else is worth it.
#[derive(Debug, Default)]
pub struct Download {
    task: Option<Task>,
    done: u64,
}

impl Download {
    /// What shows a download here: this under our kernel, else a bar or plain lines.
    pub(crate) fn or_terminal() -> Box<dyn Watch> {
        match channel::interrupts() {
            Some(_) => Box::new(Self::default()),
            None => Box::new(Terminal::default()),
        }
    }
}

impl Watch for Download {
    fn note(&mut self, line: &str) {
        terminal::note(line);
    }

    fn begin(&mut self, what: &str, done: u64, total: Option<u64>) {
        self.done = done;
        self.task = Some(Task::bytes(what, done, total));
    }

    fn more(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(task) = &mut self.task {
            task.at(self.done);
        }
    }

    fn end(&mut self) {
        self.task = None;
    }
}
