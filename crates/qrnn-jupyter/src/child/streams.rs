//! What cells print and show, from the evaluation process's pipes to the notebook.

use std::io::{PipeReader, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use jupyter_protocol::Header;
use serde_json::{Value, json};

use crate::child::interrupt::interrupter::Interrupter;
use crate::child::output_limit::Bound;
use crate::child::reader::Reader;
use crate::child::stdin::Asker;
use crate::protocol::message::Publisher;
use crate::rustc::warnings::Compiled;

/// One shown value, in bytes of its message.
const LARGEST_DISPLAY: usize = 16 << 20;
/// All that one cell shows, in bytes.
const ALL_DISPLAYS: usize = 256 << 20;

/// A panic as the panic hook saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Panic {
    pub text: String,
    pub at: Option<Place>,
}

/// An error that `?` handed on.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    pub type_name: String,
    pub text: String,
    pub at: Option<Place>,
}

/// A place in the code that was compiled.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Place {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

/// How a cell's code ended, as far as its output tells.
#[derive(Debug, Default)]
pub struct Report {
    pub panic: Option<Panic>,
    pub failed: Option<Failed>,
}

/// The cell that is running, or the last one: what threads of its own print later belongs to it.
#[derive(Debug, Default)]
pub struct Cell {
    pub parent: Option<Header>,
    pub count: u64,
    pub silent: bool,
    pub running: bool,
    pub bound: Bound,
    pub shown: usize,
    /// A panic of which it is not known yet whether it ends the cell.
    pub panic: Option<Panic>,
    /// The last panic of a thread that the cell started: it may be handed on to the cell.
    pub elsewhere: Option<Panic>,
    pub report: Report,
    /// What is compiled, and evcxr's folder: for the warnings, before its code runs.
    pub compiled: Option<(Compiled, PathBuf)>,
    /// The kernel puts variables in order: no interrupt stops it, and no warning belongs to it.
    pub keeping: bool,
    /// An interrupt came before the code could start.
    pub held_back: bool,
    /// Variables that have other types than the code that was to take them.
    pub changed: Vec<String>,
    /// The value at the cell's end shows itself from here on.
    pub ending: bool,
    /// What the evaluator must hear.
    pub passed_on: Vec<String>,
}

/// What the reader and the evaluator's thread share.
#[derive(Debug)]
pub struct Shared {
    pub cell: Mutex<Cell>,
    pub publisher: Publisher,
    pub asker: Arc<Asker>,
    pub interrupter: Arc<Interrupter>,
}

/// The thread that reads the pipes works on; this is how others speak to it.
#[derive(Debug)]
pub struct Output {
    shared: Arc<Shared>,
    settle: mpsc::Sender<mpsc::Sender<()>>,
    wake: PipeWriter,
}

impl Output {
    /// # Errors
    /// Where a pipe or a thread cannot be made.
    pub fn start(
        stdout: PipeReader,
        stderr: PipeReader,
        acknowledgements: PipeWriter,
        publisher: Publisher,
        asker: Arc<Asker>,
        interrupter: Arc<Interrupter>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { cell: Mutex::default(), publisher, asker, interrupter });
        let (settle, settling) = mpsc::channel();
        let (waker, wake) = std::io::pipe()?;
        let streams = [stdout, stderr];
        let reader = Reader::new(shared.clone(), streams, acknowledgements, settling, waker);
        std::thread::Builder::new().name("output".into()).spawn(move || reader.run())?;
        Ok(Self { shared, settle, wake })
    }

    /// From now on, output belongs to this cell.
    pub fn begin(&self, parent: &Header, count: u64, silent: bool) {
        *self.shared.lock() =
            Cell { parent: Some(parent.clone()), count, silent, running: true, ..Cell::default() };
    }

    /// A cell is about to be compiled, with evcxr's folder.
    pub fn compiles(&self, compiled: Compiled, folder: &Path) {
        self.shared.lock().compiled = Some((compiled, folder.to_owned()));
    }

    /// Runs code of the kernel's own that keeps or gives up variables.
    pub fn keeping<T>(&self, run: impl FnOnce() -> T) -> T {
        self.shared.lock().keeping = true;
        let result = run();
        self.shared.lock().keeping = false;
        result
    }

    /// Why the code that was to run last was refused by its process.
    pub fn changed(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().changed)
    }

    /// Whether an interrupt came before the code could start.
    pub fn was_held_back(&self) -> bool {
        self.shared.lock().held_back
    }

    /// Whether the code has failed, by a panic or by `?`.
    pub fn has_failed(&self) -> bool {
        let cell = self.shared.lock();
        cell.report.panic.is_some() || cell.report.failed.is_some()
    }

    /// The cell has ended, and its output was read.
    pub fn end(&self) -> Report {
        let mut cell = self.shared.lock();
        cell.running = false;
        if let Some(note) = cell.bound.note() {
            self.shared.stream(&cell, "stderr", &note);
        }
        self.shared.asker.forget();
        std::mem::take(&mut cell.report)
    }

    /// Reads what a process that has ended left in the pipes.
    pub fn settle(&self) {
        let (done, wait) = mpsc::channel();
        if self.settle.send(done).is_ok() && (&self.wake).write_all(b"x").is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(10));
        }
    }

    /// The kernel's own words to the cell.
    pub fn note(&self, text: &str) {
        let cell = self.shared.lock();
        self.shared.stream(&cell, "stderr", text);
    }

    /// A value that evcxr's own commands show.
    pub fn show(&self, forms: Vec<(String, String)>) {
        let mut cell = self.shared.lock();
        cell.ending = true;
        self.shared.display(&mut cell, forms);
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn publish(&self, cell: &Cell, kind: &str, content: Value) {
        if !cell.silent {
            self.publisher.publish(kind, content, cell.parent.as_ref());
        }
    }

    pub fn stream(&self, cell: &Cell, name: &str, text: &str) {
        if !text.is_empty() {
            self.publish(cell, "stream", json!({ "name": name, "text": text }));
        }
    }

    /// A value in its forms: the cell's result, or one among its output.
    pub fn display(&self, cell: &mut Cell, forms: Vec<(String, String)>) {
        // The `()` of a loop at a cell's end tells nobody anything.
        if cell.ending && matches!(&*forms, [(_, content)] if content.trim() == "()") {
            cell.ending = false;
            return;
        }
        let mut data = serde_json::Map::new();
        for (media_type, content) in forms {
            // What is JSON by its type travels as JSON.
            let json = media_type == "application/json" || media_type.ends_with("+json");
            let value = if json { serde_json::from_str(&content).ok() } else { None };
            data.insert(media_type, value.unwrap_or(Value::String(content)));
        }
        let result = std::mem::take(&mut cell.ending);
        let mut content = json!({ "data": data, "metadata": {} });
        if result {
            content["execution_count"] = cell.count.into();
        } else {
            content["transient"] = json!({});
        }
        self.show(cell, if result { "execute_result" } else { "display_data" }, content);
    }

    pub fn show(&self, cell: &mut Cell, kind: &str, content: Value) {
        let bytes = content.to_string().len();
        cell.shown += bytes;
        if bytes > LARGEST_DISPLAY || cell.shown > ALL_DISPLAYS {
            self.stream(cell, "stderr", &too_large(bytes));
        } else {
            self.publish(cell, kind, content);
        }
    }
}

pub fn too_large(bytes: usize) -> String {
    format!("[a display of {:.1} MiB was not shown]\n", bytes as f64 / f64::from(1 << 20))
}

impl Shared {
    pub fn forget_caught_panic(&self, cell: &mut Cell) {
        if let Some(caught) = cell.panic.take() {
            self.stream(cell, "stderr", &say(&caught, "the cell"));
        }
    }
}

pub fn say(panic: &Panic, who: &str) -> String {
    format!("{who} panicked:\n{}\n", panic.text)
}
