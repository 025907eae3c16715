//! The kernel's access to the thread that reads the child process's output.

use std::io::{PipeReader, PipeWriter, Write};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use jupyter_protocol::Header;

use crate::child::cell_output::{Cell, CellOutput, Report, Representations};
use crate::child::reader::Reader;
use crate::rustc::compiled_cell::CompiledCell;

pub struct Streams {
    output: Arc<CellOutput>,
    drain: mpsc::Sender<mpsc::Sender<()>>,
    wake: PipeWriter,
}

impl Streams {
    /// Starts the thread.
    pub fn start(
        output: CellOutput,
        streams: [PipeReader; 2],
        acknowledgements: PipeWriter,
    ) -> std::io::Result<Self> {
        let output = Arc::new(output);
        let (drain, drains) = mpsc::channel();
        let (waker, wake) = std::io::pipe()?;
        let reader = Reader::new(output.clone(), streams, acknowledgements, drains, waker);
        std::thread::Builder::new().name("output".into()).spawn(move || reader.run())?;
        Ok(Self { output, drain, wake })
    }

    /// Output belongs to this cell from now on.
    pub fn begin(&self, parent: &Header, count: u64, silent: bool) {
        *self.output.cell.lock() =
            Cell { parent: Some(parent.clone()), count, silent, running: true, ..Cell::default() };
    }

    /// The cell is about to be compiled.
    pub fn set_compiled(&self, compiled: CompiledCell, workdir: &Path) {
        self.output.cell.lock().compiled = Some((compiled, workdir.to_owned()));
    }

    /// Runs code of the kernel that restores or drops variables.
    pub fn restoring<T>(&self, run: impl FnOnce() -> T) -> T {
        self.output.cell.lock().restoring = true;
        let result = run();
        self.output.cell.lock().restoring = false;
        result
    }

    /// The variables with other types because of which the child process refused the cell.
    pub fn take_changed(&self) -> Vec<String> {
        std::mem::take(&mut self.output.cell.lock().changed)
    }

    /// Whether an interrupt came before the code could start.
    pub fn was_prevented(&self) -> bool {
        self.output.cell.lock().prevented
    }

    /// Whether the code ended with a panic or by `?`.
    pub fn has_failed(&self) -> bool {
        let cell = self.output.cell.lock();
        cell.report.panic.is_some() || cell.report.failure.is_some()
    }

    /// The cell has ended, and its output was read.
    pub fn end(&self) -> Report {
        let mut cell = self.output.cell.lock();
        cell.running = false;
        if let Some(note) = cell.limit.note() {
            self.output.stream(&cell, "stderr", &note);
        }
        self.output.stdin.end();
        std::mem::take(&mut cell.report)
    }

    /// Reads what a process that has ended left in the pipes.
    pub fn drain(&self) {
        let (done, wait) = mpsc::channel();
        if self.drain.send(done).is_ok() && (&self.wake).write_all(b"x").is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(10));
        }
    }

    /// Writes to the cell's standard error.
    pub fn note(&self, text: &str) {
        self.output.stream(&self.output.cell.lock(), "stderr", text);
    }

    /// Shows a result of the kernel or of evcxr.
    pub fn show(&self, representations: Representations) {
        let mut cell = self.output.cell.lock();
        cell.ending = true;
        self.output.display(&mut cell, representations);
    }
}
