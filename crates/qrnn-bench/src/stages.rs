//! Time of the stages of a step, as a bar chart.

use std::collections::BTreeMap;
use std::path::Path;

use qrnn::{Error, Result};
use qrnn_ops::profile::Stage;

/// The time that is in no stage.
pub const REST: &str = "all else";

/// The stages of a step.
pub struct Bar {
    name: String,
    /// Seconds of the whole step.
    seconds: f64,
    /// Stages and their seconds, the longest first and [`REST`] last.
    stages: Vec<(&'static str, f64)>,
}

impl Bar {
    /// `seconds`: the time of the whole step.
    pub fn new(name: String, stages: &BTreeMap<Stage, f64>, seconds: f64) -> Self {
        let mut all: Vec<_> = stages.iter().map(|(stage, time)| (stage.name(), *time)).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        let known: f64 = stages.values().sum();
        all.push((REST, (seconds - known).max(0.0)));
        Self { name, seconds, stages: all }
    }

    fn of(&self, stage: &str) -> f64 {
        self.stages.iter().find(|(name, _)| *name == stage).map_or(0.0, |(_, seconds)| *seconds)
    }
}

/// The stages that take at least 0.05 ms in any bar, in the order of the first bar, and [`REST`] last.
fn names(bars: &[Bar]) -> Vec<&'static str> {
    let mut names = vec![];
    for (name, seconds) in bars.iter().flat_map(|bar| &bar.stages) {
        if *name != REST && *seconds >= 5e-5 && !names.contains(name) {
            names.push(*name);
        }
    }
    names.push(REST);
    names
}

/// Renders the bars to an SVG file; lengths are proportional to time.
pub fn render(bars: &[Bar], path: &Path) -> Result<()> {
    let names = names(bars);
    let (left, row) = (170, 34);
    let legend = bars.len() * row + 20;
    let longest = bars.iter().map(|bar| bar.seconds).fold(1e-9, f64::max);
    let x = |seconds: f64| left as f64 + 600.0 * seconds / longest;
    let color = |k: usize| format!("hsl({}, 60%, {}%)", 360 * k / names.len(), 45 + k % 2 * 20);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"{}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        legend + 20 * names.len() + 10,
    );
    let rectangle = |[x, y, width, height]: [f64; 4], k: usize| {
        format!(
            "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{}\"/>\n",
            color(k)
        )
    };
    let text =
        |x: f64, y: usize, text: &str| format!("<text x=\"{x:.1}\" y=\"{y}\">{text}</text>\n");
    for (i, bar) in bars.iter().enumerate() {
        let top = 10 + i * row;
        svg += &text(10.0, top + 15, &bar.name);
        let mut start = 0.0;
        for (k, name) in names.iter().enumerate() {
            let seconds = bar.of(name);
            let width = x(start + seconds) - x(start);
            svg += &rectangle([x(start), top as f64, width, 22.0], k);
            start += seconds;
        }
        svg += &text(x(start) + 6.0, top + 15, &format!("{:.1} ms", 1e3 * bar.seconds));
    }
    for (k, name) in names.iter().enumerate() {
        let top = legend + 20 * k;
        svg += &rectangle([x(0.0), top as f64, 14.0, 12.0], k);
        svg += &text(x(0.0) + 22.0, top + 11, name);
    }
    std::fs::write(path, svg + "</svg>\n").map_err(Error::io(path, "write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_proportional_to_time_and_short_stages_are_left_out() {
        let stages =
            [(Stage::MatrixProducts, 0.02), (Stage::Optimizer, 0.01), (Stage::Embedding, 1e-6)];
        let bars = [("a", 0.04), ("b", 0.03)]
            .map(|(name, seconds)| Bar::new(name.into(), &BTreeMap::from(stages), seconds));
        let file = tempfile::NamedTempFile::new().unwrap();
        render(&bars, file.path()).unwrap();
        let svg = std::fs::read_to_string(file.path()).unwrap();
        // Two matrix products; two optimizers and the rest of a.
        let bars_of = |width: &str| svg.matches(&format!("width=\"{width}\"")).count();
        assert_eq!([bars_of("300.0"), bars_of("150.0")], [2, 3], "{svg}");
        assert!(svg.contains(">40.0 ms<") && svg.contains(">30.0 ms<"), "{svg}");
        assert!(!svg.contains(Stage::Embedding.name()), "{svg}");
    }
}
