//! A request to stop that long work looks at between its steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by whoever asks and whoever works; clones are the same request.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks the work to stop after its step.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Requests on Ctrl-C; a second Ctrl-C ends the process at once with status 130.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] where a handler is installed already.
    pub fn on_ctrl_c() -> crate::Result<Self> {
        let interrupt = Self::default();
        let handle = interrupt.clone();
        ctrlc::set_handler(move || {
            if handle.0.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            eprintln!("\nfinishing this step; Ctrl-C again ends at once");
        })
        .map_err(|error| {
            crate::Error::usage("Ctrl-C", error.to_string(), "ask for the handler only once")
        })?;
        Ok(interrupt)
    }
}
