//! A progress line in a notebook for evaluation, generation and downloads.

use std::time::Instant;

use maud::html;

use crate::format::duration;
use crate::notebook::{LiveDisplay, MimeBundle};
use crate::progress::{Progress, Task, Unit};
use crate::view::html::progress;

/// A line that appears after half a second.
#[derive(Debug)]
pub struct LiveLine {
    display: LiveDisplay,
    task: Task,
    done: u64,
    started: Instant,
}

impl LiveLine {
    pub fn new(display: LiveDisplay, task: &Task) -> Self {
        Self { display, task: task.clone(), done: task.done, started: Instant::now() }
    }
}

impl Progress for LiveLine {
    fn advance(&mut self, by: u64) {
        self.done += by;
        if !self.display.is_due() {
            return;
        }
        let line = line(&self.task, self.done, self.started.elapsed().as_secs_f64());
        let fraction = self.task.total.map(|total| self.done as f64 / (total as f64).max(1e-9));
        let label = &self.task.label;
        let html = html! { div { (label) " " (progress(fraction)) " " (line) } };
        self.display.show(&MimeBundle::html(html, format!("{label}: {line}")));
    }

    fn finish(&mut self) {
        if self.display.is_shown() {
            let time = duration(self.started.elapsed().as_secs_f64());
            let line = format!("{}: {time}", self.task.label);
            self.display.show(&MimeBundle::html(html! { div { (line) } }, line));
        }
    }
}

/// Progress, speed and remaining time.
fn line(task: &Task, done: u64, elapsed: f64) -> String {
    let (unit, scale) = if task.unit == Unit::Bytes { ("MB", 1e6) } else { ("tokens", 1.0) };
    let rate = (done - task.done) as f64 / scale / elapsed.max(1e-9);
    let speed = format!("{rate:.digits$} {unit}/s", digits = usize::from(rate < 10.0));
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
    fn a_line_shows_progress_speed_and_remaining_time() {
        let tokens = Task::new("evaluating test", Unit::Tokens, 1000);
        assert_eq!(line(&tokens, 250, 5.0), "25 %, 50 tokens/s, 15 s left");
        let mut bytes = Task::new("downloading", Unit::Bytes, 190_000_000);
        bytes.done = 100_000_000;
        assert_eq!(line(&bytes, 110_000_000, 2.0), "58 %, 5.0 MB/s, 16 s left");
        let unknown = Task { done: 0, total: None, ..bytes };
        assert_eq!(line(&unknown, 24_000_000, 2.0), "24 MB, 12 MB/s");
    }
}
