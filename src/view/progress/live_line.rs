//! A task in a line that changes: evaluation, generation, a download.

use std::time::{Duration, Instant};

use crate::format::duration;
use crate::notebook::{LiveDisplay, MimeBundle};
use crate::progress::{Task, Unit};
use crate::view::html::escaped;

/// Two updates a second, and none for work that is done before anybody could read it.
const BETWEEN: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct LiveLine {
    live: LiveDisplay,
    task: Task,
    done: u64,
    started: Instant,
    due: Instant,
    shown: bool,
}

impl LiveLine {
    pub fn new(live: LiveDisplay, task: &Task) -> Self {
        let started = Instant::now();
        let due = started + BETWEEN;
        Self { live, task: task.clone(), done: task.done, started, due, shown: false }
    }

    pub fn advance(&mut self, by: u64) {
        self.done += by;
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + BETWEEN;
        self.shown = true;
        let line = line(&self.task, self.done, (now - self.started).as_secs_f64());
        let share = self.task.total.map_or_else(String::new, |total| {
            format!(" value=\"{:.3}\" max=\"1\"", self.done as f64 / (total as f64).max(1e-9))
        });
        let label = &self.task.label;
        let html = format!("<div>{} <progress{share}></progress> {line}</div>", escaped(label));
        self.live.show(&MimeBundle::html(html, format!("{label}: {line}")));
    }

    pub fn finish(mut self) {
        if self.shown {
            let time = duration(self.started.elapsed().as_secs_f64());
            let line = format!("{}: {time}", self.task.label);
            self.live.show(&MimeBundle::html(format!("<div>{}</div>", escaped(&line)), line));
        }
    }
}

/// How far the task is, how fast, and how long it will take.
fn line(task: &Task, done: u64, elapsed: f64) -> String {
    let (unit, scale) = if task.unit == Unit::Bytes { ("MB", 1e6) } else { ("words", 1.0) };
    let rate = (done - task.done) as f64 / scale / elapsed.max(1e-9);
    let speed = format!("{rate:.digits$} {unit} a second", digits = usize::from(rate < 10.0));
    let done = done as f64 / scale;
    match task.total.map(|total| total as f64 / scale) {
        Some(total) => format!(
            "{:.0} %, {speed}, {} left",
            100.0 * done / total.max(1e-9),
            duration((total - done) / rate.max(1e-9)),
        ),
        None => format!("{done:.0} {unit}, {speed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_and_how_fast() {
        let words = Task::new("evaluating test", Unit::Tokens, 1000);
        assert_eq!(line(&words, 250, 5.0), "25 %, 50 words a second, 15 s left");
        let mut bytes = Task::new("downloading", Unit::Bytes, 190_000_000);
        bytes.done = 100_000_000;
        assert_eq!(line(&bytes, 110_000_000, 2.0), "58 %, 5.0 MB a second, 16 s left");
        let unknown = Task { done: 0, total: None, ..bytes };
        assert_eq!(line(&unknown, 24_000_000, 2.0), "24 MB, 12 MB a second");
    }
}
