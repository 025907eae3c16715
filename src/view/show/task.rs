//! Work of one long step, told in a line that changes: evaluation, generation, downloads.

use std::time::{Duration, Instant};

use super::{Bundle, Live};
use crate::view::report::cells::{duration, escaped};

/// Two updates a second at most, and none of what is done before anybody could read it.
const BETWEEN: Duration = Duration::from_millis(500);

const MEGABYTE: f64 = 1e6;

/// Progress of work, of an amount that is known or not; shown under our kernel only.
#[derive(Debug)]
pub(crate) struct Task {
    live: Option<Live>,
    what: String,
    unit: &'static str,
    /// What is counted, in one unit.
    scale: f64,
    total: Option<f64>,
    /// What was done before this work began.
    begun_at: f64,
    started: Instant,
    due: Instant,
    shown: bool,
}

impl Task {
    /// Work on so many words: `Task::words("evaluating test", 245_569)`.
    pub fn words(what: impl Into<String>, total: usize) -> Self {
        Self::new(what.into(), "words", 1.0, Some(total as f64), 0.0)
    }

    /// Work on bytes, `done` of them done before; `None` where nobody knows how many there are.
    pub fn bytes(what: impl Into<String>, done: u64, total: Option<u64>) -> Self {
        let total = total.map(|total| total as f64 / MEGABYTE);
        Self::new(what.into(), "MB", MEGABYTE, total, done as f64 / MEGABYTE)
    }

    fn new(
        what: String,
        unit: &'static str,
        scale: f64,
        total: Option<f64>,
        begun_at: f64,
    ) -> Self {
        let (live, started) = (Live::in_notebook(), Instant::now());
        let due = started + BETWEEN;
        Self { live, what, unit, scale, total, begun_at, started, due, shown: false }
    }

    /// So much is done.
    pub fn at(&mut self, done: u64) {
        let now = Instant::now();
        if self.live.is_none() || now < self.due {
            return;
        }
        self.due = now + BETWEEN;
        self.shown = true;
        let done = done as f64 / self.scale;
        let line = self.line(done, (now - self.started).as_secs_f64());
        let what = escaped(&self.what);
        let share = self.total.map_or_else(String::new, |total| {
            format!(" value=\"{:.3}\" max=\"1\"", done / total.max(1e-9))
        });
        let html = format!("<div>{what} <progress{share}></progress> {line}</div>");
        let shown = Bundle::html(html, format!("{}: {line}", self.what));
        if let Some(live) = &mut self.live {
            live.show(&shown);
        }
    }

    fn line(&self, done: f64, elapsed: f64) -> String {
        let unit = self.unit;
        let rate = (done - self.begun_at) / elapsed.max(1e-9);
        let speed = format!("{rate:.digits$} {unit} a second", digits = usize::from(rate < 10.0));
        match self.total {
            Some(total) => format!(
                "{:.0} %, {speed}, {} left",
                100.0 * done / total.max(1e-9),
                duration((total - done) / rate.max(1e-9)),
            ),
            None => format!("{done:.0} {unit}, {speed}"),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Some(live) = self.live.as_mut().filter(|_| self.shown) else { return };
        let line = format!("{}: {}", self.what, duration(self.started.elapsed().as_secs_f64()));
        live.show(&Bundle::html(format!("<div>{}</div>", escaped(&line)), line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_and_how_fast() {
        let words = Task::words("evaluating test", 1000);
        assert_eq!(words.line(250.0, 5.0), "25 %, 50 words a second, 15 s left");
        let resumed = Task::bytes("downloading", 100_000_000, Some(190_000_000));
        assert_eq!(resumed.line(110.0, 2.0), "58 %, 5.0 MB a second, 16 s left");
        let unknown = Task::bytes("downloading", 0, None);
        assert_eq!(unknown.line(24.0, 2.0), "24 MB, 12 MB a second");
    }
}
