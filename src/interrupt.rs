//! A request to stop that long work looks at between its steps.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::notebook::channel;
use crate::terminal;

/// Shared by whoever asks and whoever works; clones are the same request.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    notebook: Option<Arc<Notebook>>,
}

impl Interrupt {
    /// Asks the work to stop after its step.
    pub fn request(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn requested(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
            || self.notebook.as_deref().is_some_and(Notebook::was_pressed)
    }

    /// Ends a call on request; `saved` says what is kept of its work.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`] where a stop was requested.
    pub fn check(&self, saved: impl FnOnce() -> String) -> crate::Result<()> {
        if self.requested() {
            return Err(crate::Error::Interrupted { saved: saved() });
        }
        Ok(())
    }

    /// The same request for the time of one call: in a cell of our Jupyter kernel, the notebook's
    /// interrupt button asks too, if it is pressed from now on. What was pressed before was meant
    /// for another call.
    ///
    /// Work inside the call is handed this one, so that it hears what its caller hears.
    pub fn during_call(&self) -> Self {
        let notebook = match &self.notebook {
            Some(notebook) => Some(notebook.clone()),
            None => channel::interrupts().and_then(|file| Notebook::now(&file)).map(Arc::new),
        };
        Self { asked: self.asked.clone(), notebook }
    }

    /// Requests on Ctrl-C; a second Ctrl-C ends the process at once with status 130.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] where a handler is installed already.
    pub fn on_ctrl_c() -> crate::Result<Self> {
        let interrupt = Self::default();
        let handle = interrupt.asked.clone();
        ctrlc::set_handler(move || {
            if handle.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            terminal::note("\nfinishing this step; Ctrl-C again ends at once");
        })
        .map_err(|error| {
            crate::Error::usage("Ctrl-C", error.to_string(), "ask for the handler only once")
        })?;
        Ok(interrupt)
    }
}

/// The kernel's count of interrupts, and what it was when a call began.
///
/// A file and not a signal or a static: cells may each hold a copy of this library. Its 8 bytes are
/// the kernel's shared memory, and to read them costs less than a microsecond.
#[derive(Debug)]
struct Notebook {
    counter: File,
    begun: u64,
}

impl Notebook {
    /// `None` where the file cannot be read: then the button does nothing, and the work goes on.
    fn now(path: &Path) -> Option<Self> {
        let counter = File::open(path).ok()?;
        let begun = count(&counter)?;
        Some(Self { counter, begun })
    }

    fn was_pressed(&self) -> bool {
        count(&self.counter).is_some_and(|now| now != self.begun)
    }
}

fn count(counter: &File) -> Option<u64> {
    let mut bytes = [0; 8];
    counter.read_exact_at(&mut bytes, 0).ok()?;
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_pressed_during_the_call_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let press = |count: u64| std::fs::write(file.path(), count.to_le_bytes()).unwrap();
        press(7);
        let during = |own: &Interrupt| Interrupt {
            notebook: Notebook::now(file.path()).map(Arc::new),
            ..own.clone()
        };
        let own = Interrupt::default();
        let first = during(&own);
        assert!(!first.requested());
        press(8);
        let inner = first.during_call();
        assert!(first.requested() && inner.requested() && !own.requested());
        let second = during(&own);
        assert!(!second.requested());
        own.request();
        assert!(second.requested());
    }

    #[test]
    fn a_counter_that_cannot_be_read_never_asks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Notebook::now(file.path()).is_none());
        assert!(Notebook::now(Path::new("/no/such/file")).is_none());
    }
}
