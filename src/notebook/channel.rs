//! The two channels between a cell and our Jupyter kernel: interrupts in, live displays out.
//!
//! The kernel gives the process that runs the cells an environment variable,
//! `QRNN_JUPYTER_INTERRUPTS`, which names a file of 8 bytes: a little-endian count of the interrupts
//! asked for so far. A cell that finds no such variable is not run by our kernel.
//!
//! What is to be shown while a cell runs goes to standard output as lines of their own: U+001E,
//! `qrnn-jupyter `, and a JSON object with the type and the content of a Jupyter message.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::terminal;
use crate::view::show::Bundle;

/// Names the file with the count of interrupts.
const INTERRUPTS: &str = "QRNN_JUPYTER_INTERRUPTS";

/// Begins a line that the kernel takes for a message.
const MESSAGE: &str = "\u{1e}qrnn-jupyter ";

/// The file with the count of interrupts, where our kernel runs this process.
pub(crate) fn interrupts() -> Option<PathBuf> {
    std::env::var_os(INTERRUPTS).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// A place in a notebook whose content changes while the cell runs.
///
/// ```no_run
/// # use qrnn::view::show::{Bundle, Live};
/// if let Some(mut live) = Live::in_notebook() {
///     for step in 1..=10 {
///         live.show(&Bundle::text(format!("step {step} of 10")));
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Live {
    id: String,
    shown: bool,
}

impl Live {
    /// A new place, which appears when something is first shown there; `None` where the cell is not
    /// run by our kernel, which alone can change what it has shown.
    pub fn in_notebook() -> Option<Self> {
        interrupts()?;
        // The time and the process, and no static: cells may each hold a copy of this library.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Some(Self { id: format!("qrnn-{:x}-{time:x}", std::process::id()), shown: false })
    }

    /// Shows this in place of what was shown before.
    pub fn show(&mut self, bundle: &Bundle) {
        let kind = if self.shown { "update_display_data" } else { "display_data" };
        self.shown = true;
        let data: serde_json::Map<_, _> =
            bundle.parts().iter().map(|(mime, body)| (mime.to_string(), json!(body))).collect();
        let content = json!({"data": data, "metadata": {}, "transient": {"display_id": self.id}});
        let message = json!({"msg_type": kind, "content": content});
        terminal::show(format_args!("{MESSAGE}{message}"));
    }
}
