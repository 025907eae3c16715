//! The output of the running cell, and how it becomes messages.

use std::path::PathBuf;
use std::sync::Arc;

use jupyter_protocol::Header;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::child::interrupt::interrupter::Interrupter;
use crate::child::output_limit::{OutputLimit, mib};
use crate::child::stdin::StdinChannel;
use crate::protocol::iopub::Publisher;
use crate::rustc::compiled_cell::CompiledCell;

/// Bytes of a message that shows a value.
const MAX_DISPLAY: usize = 16 << 20;
/// Bytes of all such messages of a cell.
const MAX_DISPLAYS: usize = 256 << 20;

/// A value as media types and contents.
pub type Representations = Vec<(String, String)>;

/// A panic as the panic hook reported it.
#[derive(Debug, Clone, PartialEq)]
pub struct Panic {
    pub text: String,
    pub at: Option<Location>,
}

/// An error that `?` returned from the cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub type_name: String,
    pub text: String,
    pub at: Option<Location>,
}

/// A place in the compiled code.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Location {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

/// How a cell's code ended, according to its output.
#[derive(Debug, Default)]
pub struct Report {
    pub panic: Option<Panic>,
    pub failure: Option<Failure>,
}

/// The running cell, or the last one: output of its threads may come later.
#[derive(Debug, Default)]
pub struct Cell {
    pub parent: Option<Header>,
    pub count: u64,
    pub silent: bool,
    pub running: bool,
    pub limit: OutputLimit,
    /// Bytes of all messages that show values.
    pub shown: usize,
    /// A panic that may have ended the cell, or may have been caught.
    pub panic: Option<Panic>,
    /// The last panic of another thread, which may be resumed in the cell.
    pub thread_panic: Option<Panic>,
    pub report: Report,
    /// The compiled cell and the workdir, for warnings before its code runs.
    pub compiled: Option<(CompiledCell, PathBuf)>,
    /// The kernel itself runs code to restore variables. It must not be interrupted or warned about.
    pub restoring: bool,
    /// An interrupt came before the code could start.
    pub prevented: bool,
    /// Variables that have another type than the code expected.
    pub changed: Vec<String>,
    /// The next value is the cell's result.
    pub ending: bool,
    /// Lines for evcxr.
    pub for_evcxr: Vec<String>,
}

/// Shared by the thread that reads the output and the thread that runs cells.
pub struct CellOutput {
    pub cell: Mutex<Cell>,
    pub publisher: Publisher,
    pub stdin: Arc<StdinChannel>,
    pub interrupter: Arc<Interrupter>,
}

impl CellOutput {
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

    /// Shows a value as the cell's result, or as a display.
    pub fn display(&self, cell: &mut Cell, representations: Representations) {
        let is_result = std::mem::take(&mut cell.ending);
        // A loop at the end of a cell has the value `()`.
        if is_result && matches!(&*representations, [(_, content)] if content.trim() == "()") {
            return;
        }
        let mut data = serde_json::Map::new();
        for (media_type, content) in representations {
            // Jupyter wants JSON as JSON, not as text.
            let is_json = media_type == "application/json" || media_type.ends_with("+json");
            let value = if is_json { serde_json::from_str(&content).ok() } else { None };
            data.insert(media_type, value.unwrap_or(Value::String(content)));
        }
        let mut content = json!({ "data": data, "metadata": {} });
        if is_result {
            content["execution_count"] = cell.count.into();
            self.show(cell, "execute_result", content);
        } else {
            content["transient"] = json!({});
            self.show(cell, "display_data", content);
        }
    }

    /// Publishes a message that shows a value, unless it is too large.
    pub fn show(&self, cell: &mut Cell, kind: &str, content: Value) {
        let bytes = content.to_string().len();
        cell.shown += bytes;
        if bytes > MAX_DISPLAY || cell.shown > MAX_DISPLAYS {
            self.note_oversized(cell, bytes);
        } else {
            self.publish(cell, kind, content);
        }
    }

    pub fn note_oversized(&self, cell: &Cell, bytes: usize) {
        let text = format!("[a display of {:.1} MiB was not shown]\n", mib(bytes));
        self.stream(cell, "stderr", &text);
    }

    /// A panic that did not end the cell was caught; it is only shown.
    pub fn show_panic(&self, cell: &Cell, panic: &Panic, who: &str) {
        self.stream(cell, "stderr", &format!("{who} panicked:\n{}\n", panic.text));
    }
}
