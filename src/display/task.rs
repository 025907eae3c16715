//! Work of one long step, told in a line that changes: evaluation, generation, downloads.

use std::time::{Duration, Instant};

use super::{Bundle, Live};
use crate::report::cells::{duration, escaped};

/// Two updates a second at most, and none of what is done before anybody could read it.
const BETWEEN: Duration = Duration::from_millis(500);

/// Progress of work with a known amount of it; shown under our kernel only.
#[derive(Debug)]
pub(crate) struct Task {
    live: Option<Live>,
    what: String,
    unit: &'static str,
    total: usize,
    started: Instant,
    due: Instant,
    shown: bool,
}

impl Task {
    /// Work on `total` of `unit`: `Task::new("evaluating test", 245_569, "words")`.
    pub fn new(what: impl Into<String>, total: usize, unit: &'static str) -> Self {
        let started = Instant::now();
        let live = Live::in_notebook();
        Self { live, what: what.into(), unit, total, started, due: started + BETWEEN, shown: false }
    }

    /// So much is done.
    pub fn at(&mut self, done: usize) {
        let Some(live) = &mut self.live else { return };
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + BETWEEN;
        self.shown = true;
        let elapsed = (now - self.started).as_secs_f64();
        let share = done as f64 / self.total.max(1) as f64;
        let line = format!(
            "{:.0} %, {:.0} {} a second, {} left",
            share * 100.0,
            done as f64 / elapsed.max(1e-9),
            self.unit,
            duration(elapsed * (1.0 - share) / share.max(1e-9)),
        );
        let what = escaped(&self.what);
        let bar = format!("<progress value=\"{share:.3}\" max=\"1\"></progress>");
        let html = format!("<div>{what} {bar} {line}</div>");
        live.show(&Bundle::html(html, format!("{}: {line}", self.what)));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Some(live) = self.live.as_mut().filter(|_| self.shown) else { return };
        let line = format!("{}: {}", self.what, duration(self.started.elapsed().as_secs_f64()));
        live.show(&Bundle::html(format!("<div>{}</div>", escaped(&line)), line));
    }
}
