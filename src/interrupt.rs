//! Interrupt requests, which training, evaluation and downloads check between steps.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::notebook::channel;
use crate::terminal;

/// A flag that asks running work to stop. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    /// Set if another process of a group was asked to stop.
    elsewhere: Option<Arc<AtomicBool>>,
    notebook: Option<Arc<Notebook>>,
}

impl Interrupt {
    /// Requests a stop after the current step.
    pub fn request(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Returns whether a stop was requested.
    pub fn requested(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
            || self.elsewhere.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
            || self.notebook.as_deref().is_some_and(Notebook::was_pressed)
    }

    /// Returns an error if a stop was requested. `saved` describes which part of the work is saved.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`].
    pub fn check(&self, saved: impl FnOnce() -> String) -> crate::Result<()> {
        if self.requested() {
            return Err(crate::Error::Interrupted { saved: saved() });
        }
        Ok(())
    }

    /// The flag for the duration of one call. In a cell of our Jupyter kernel, it also responds to
    /// the notebook's interrupt button, if it was pressed since the cell began and no earlier call has
    /// responded to that.
    ///
    /// Pass the result on to nested calls; they then share the caller's view of the button.
    pub fn during_call(&self) -> Self {
        let notebook = match &self.notebook {
            Some(notebook) => Some(notebook.clone()),
            None => channel::interrupts().and_then(|path| Notebook::now(&path)).map(Arc::new),
        };
        Self { notebook, ..self.clone() }
    }

    /// As [`Interrupt::during_call`]; a stop is also requested once `elsewhere` is set.
    pub(crate) fn or(self, elsewhere: Option<Arc<AtomicBool>>) -> Self {
        Self { elsewhere, ..self }
    }

    /// Requests a stop on Ctrl-C and prints `response`, what the program then does. A second Ctrl-C exits at
    /// once with status 130.
    ///
    /// # Errors
    /// [`crate::Error::Busy`] if a handler is already installed.
    pub fn on_ctrl_c(response: &'static str) -> crate::Result<Self> {
        let interrupt = Self::default();
        let handle = interrupt.flag.clone();
        ctrlc::set_handler(move || {
            if handle.load(Ordering::Relaxed) {
                // SAFETY: ends the process. Destructors, which `std::process::exit` runs, would crash other threads that
                // compute in libtorch.
                unsafe { libc::_exit(130) };
            }
            // Before the request, after which a short command exits.
            terminal::note(format_args!("\n{response}; press Ctrl-C again to exit at once"));
            handle.store(true, Ordering::Relaxed);
        })
        .map_err(|error| {
            crate::Error::busy("Ctrl-C", error.to_string(), "install the handler only once")
        })?;
        Ok(interrupt)
    }
}

/// The kernel's interrupt counter, and how many interrupts earlier calls have noticed.
///
/// Both are files because each cell may link its own copy of this library, which rules out a static. Each has
/// 8 bytes in memory shared with the kernel; a read takes less than a microsecond.
#[derive(Debug)]
struct Notebook {
    counter: File,
    noticed: Option<File>,
    noticed_before: u64,
}

impl Notebook {
    /// `None` if the counter cannot be read; the button then has no effect.
    fn now(path: &Path) -> Option<Self> {
        let counter = File::open(path).ok()?;
        // Without this file, presses between two calls are lost.
        let noticed = File::options().read(true).write(true).open(channel::noticed(path)).ok();
        let noticed_before = noticed.as_ref().and_then(number).or_else(|| number(&counter))?;
        Some(Self { counter, noticed, noticed_before })
    }

    fn was_pressed(&self) -> bool {
        let Some(now) = number(&self.counter).filter(|&now| now != self.noticed_before) else {
            return false;
        };
        if let Some(noticed) = &self.noticed {
            // If this fails, the cell's next call stops too.
            let _ = noticed.write_all_at(&now.to_le_bytes(), 0);
        }
        true
    }
}

fn number(file: &File) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_press_stops_one_call() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("interrupts");
        let press = |count: u64| std::fs::write(&path, count.to_le_bytes()).unwrap();
        let during = |caller: &Interrupt| Interrupt {
            notebook: Notebook::now(&path).map(Arc::new),
            ..caller.clone()
        };
        press(7);
        std::fs::write(channel::noticed(&path), 7_u64.to_le_bytes()).unwrap();
        let caller = Interrupt::default();
        let first = during(&caller);
        assert!(!first.requested());
        press(8);
        let inner = first.during_call();
        assert!(first.requested() && inner.requested() && !caller.requested());
        assert!(!during(&caller).requested(), "the first call has responded");
        // Between two calls.
        press(9);
        let third = during(&caller);
        assert!(third.requested() && third.requested());
        let fourth = during(&caller);
        assert!(!fourth.requested());
        caller.request();
        assert!(fourth.requested());
    }

    #[test]
    fn a_counter_alone_counts_from_the_beginning_of_the_call() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let press = |count: u64| std::fs::write(file.path(), count.to_le_bytes()).unwrap();
        press(7);
        let first = Notebook::now(file.path()).unwrap();
        press(8);
        assert!(first.was_pressed() && !Notebook::now(file.path()).unwrap().was_pressed());
    }

    #[test]
    fn an_unreadable_counter_never_interrupts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Notebook::now(file.path()).is_none());
        assert!(Notebook::now(Path::new("/no/such/file")).is_none());
    }
}
