//! Outputs that are updated while a cell runs.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::channel::{MESSAGE, interrupts};
use super::mime_bundle::MimeBundle;
use crate::terminal;

/// An output of a notebook cell that is updated while the cell runs.
///
/// ```no_run
/// # use qrnn::notebook::{LiveDisplay, MimeBundle};
/// if let Some(mut live) = LiveDisplay::in_notebook() {
///     for step in 1..=10 {
///         live.show(&MimeBundle::text(format!("step {step} of 10")));
///     }
/// }
/// ```
#[derive(Debug)]
pub struct LiveDisplay {
    id: String,
    shown: bool,
}

impl LiveDisplay {
    /// Creates a display, which appears on the first call of [`LiveDisplay::show`]; `None` if the cell is
    /// not run by our kernel, as other kernels cannot update outputs.
    pub fn in_notebook() -> Option<Self> {
        interrupts()?;
        // Each cell may link its own copy of this library, so a static counter would not be unique.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Some(Self { id: format!("qrnn-{:x}-{time:x}", std::process::id()), shown: false })
    }

    /// Replaces the content of the display.
    pub fn show(&mut self, bundle: &MimeBundle) {
        let kind = if self.shown { "update_display_data" } else { "display_data" };
        self.shown = true;
        let data: serde_json::Map<_, _> =
            bundle.parts().iter().map(|(mime, body)| (mime.to_string(), json!(body))).collect();
        let content = json!({"data": data, "metadata": {}, "transient": {"display_id": self.id}});
        let message = json!({"msg_type": kind, "content": content});
        terminal::show(format_args!("{MESSAGE}{message}"));
    }
}
