//! What a user sees of a download while it goes; all of it on standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal;

/// Told of a fetch. All methods may be left as they are.
pub trait Watch: Send {
    /// Something worth a line: a mirror that is tried, a retry, a refusal.
    fn note(&mut self, _line: &str) {}
    /// Work of so many bytes begins, "downloading" perhaps, `done` of them done before; `None`
    /// where the server does not say how many.
    fn begin(&mut self, _what: &str, _done: u64, _total: Option<u64>) {}
    /// More bytes are done.
    fn more(&mut self, _bytes: u64) {}
    /// That work is over, or broke off.
    fn end(&mut self) {}
}

/// Shows nothing.
#[derive(Debug, Default)]
pub struct Quiet;

impl Watch for Quiet {}

/// A bar in a terminal; elsewhere a line now and then.
#[derive(Debug)]
pub struct Terminal {
    bar: ProgressBar,
    what: String,
    done: u64,
    total: Option<u64>,
    said: Instant,
}

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(5);

impl Default for Terminal {
    fn default() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Self { bar, what: String::new(), done: 0, total: None, said: Instant::now() }
    }
}

impl Terminal {
    fn say(&self) {
        let total = self.total.map(|total| format!(" of {}", megabytes(total))).unwrap_or_default();
        terminal::note(format_args!("{}: {}{total}", self.what, megabytes(self.done)));
    }
}

impl Watch for Terminal {
    fn note(&mut self, line: &str) {
        if self.bar.is_hidden() {
            terminal::note(line);
        } else {
            self.bar.println(line);
        }
    }

    fn begin(&mut self, what: &str, done: u64, total: Option<u64>) {
        (self.what, self.done, self.total, self.said) = (what.into(), done, total, Instant::now());
        if self.bar.is_hidden() {
            return self.say();
        }
        let template = match total {
            Some(_) => {
                "{prefix:>11} {bar:28.cyan/dim} {percent:>3} %  {decimal_bytes} of \
                 {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left"
            }
            None => "{prefix:>11} {spinner} {decimal_bytes}  {decimal_bytes_per_sec}",
        };
        // Templates are fixed, so they cannot be refused; a plain bar would do as well.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("━━╌"));
        }
        self.bar.set_prefix(self.what.clone());
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.reset();
        self.bar.set_position(done);
        // Speed and time left are those of the bytes to come.
        self.bar.reset_eta();
    }

    fn more(&mut self, bytes: u64) {
        self.done += bytes;
        self.bar.set_position(self.done);
        if self.bar.is_hidden() && self.said.elapsed() >= PAUSE {
            self.said = Instant::now();
            self.say();
        }
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// 12,345,678 as "12.3 MB".
pub(super) fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
