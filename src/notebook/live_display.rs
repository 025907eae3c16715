//! Outputs that are updated while a cell runs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::channel::{MESSAGE, interrupts};
use super::mime_bundle::MimeBundle;
use crate::terminal;

/// Minimum time between updates that nothing but time asks for.
const UPDATE_INTERVAL: Duration = Duration::from_millis(500);

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
    /// Time of the last update; of the creation, if nothing is shown yet.
    updated: Instant,
    shown: bool,
}

impl LiveDisplay {
    /// Creates a display, which appears on the first call of [`LiveDisplay::show`]; `None` if the cell is
    /// not run by our kernel, as other kernels cannot update outputs.
    pub fn in_notebook() -> Option<Self> {
        interrupts()?;
        // Each cell may link its own copy of this library, so a static counter would not be unique.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let id = format!("qrnn-{:x}-{time:x}", std::process::id());
        Some(Self { id, updated: Instant::now(), shown: false })
    }

    /// Whether half a second has passed since the last update, or since the creation of the display.
    pub fn is_due(&self) -> bool {
        self.updated.elapsed() >= UPDATE_INTERVAL
    }

    /// Whether anything was shown.
    pub fn is_shown(&self) -> bool {
        self.shown
    }

    /// Replaces the content of the display.
    pub fn show(&mut self, bundle: &MimeBundle) {
        let kind = if self.shown { "update_display_data" } else { "display_data" };
        (self.shown, self.updated) = (true, Instant::now());
        let data: serde_json::Map<_, _> =
            bundle.parts().iter().map(|(mime, body)| (mime.to_string(), json!(body))).collect();
        let content = json!({"data": data, "metadata": {}, "transient": {"display_id": self.id}});
        let message = json!({"msg_type": kind, "content": content});
        terminal::show(format_args!("{MESSAGE}{message}"));
    }
}
