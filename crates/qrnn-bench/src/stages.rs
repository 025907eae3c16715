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

    /// Seconds of all stages, which are measured apart from the whole step.
    fn total(&self) -> f64 {
        self.stages.iter().map(|(_, seconds)| seconds).sum()
    }

    fn of(&self, stage: &str) -> f64 {
        self.stages.iter().find(|(name, _)| *name == stage).map_or(0.0, |(_, seconds)| *seconds)
    }
}

/// The stages that take at least 0.2 % of any bar, in the order of the first bar, and [`REST`] last.
fn names(bars: &[Bar]) -> Vec<&'static str> {
    let mut names = vec![];
    for bar in bars {
        for (name, seconds) in &bar.stages {
            if *name != REST && *seconds >= 0.002 * bar.total() && !names.contains(name) {
                names.push(*name);
            }
        }
    }
    names.push(REST);
    names
}

/// Renders the bars to an SVG file. All bars have the same length, and show the shares of the stages.
pub fn render(bars: &[Bar], path: &Path) -> Result<()> {
    let names = names(bars);
    let (left, row) = (170, 34);
    let legend = bars.len() * row + 20;
    let x = |share: f64| left as f64 + 600.0 * share;
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
            let share = bar.of(name) / bar.total();
            svg += &rectangle([x(start), top as f64, x(share) - x(0.0), 22.0], k);
            start += share;
        }
        svg += &text(x(1.0) + 6.0, top + 15, &format!("{:.1} ms", 1e3 * bar.seconds));
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
    fn lengths_are_shares_and_short_stages_are_left_out() {
        let stages =
            [(Stage::MatrixProducts, 0.02), (Stage::Optimizer, 0.01), (Stage::Embedding, 1e-6)];
        // The stages of b took longer than its steps.
        let bars = [("a", 0.06), ("b", 0.02)]
            .map(|(name, seconds)| Bar::new(name.into(), &BTreeMap::from(stages), seconds));
        let file = tempfile::NamedTempFile::new().unwrap();
        render(&bars, file.path()).unwrap();
        let svg = std::fs::read_to_string(file.path()).unwrap();
        let bars_of = |width: &str| svg.matches(&format!("width=\"{width}\"")).count();
        // In a: products, optimizer, rest. In b: products, optimizer.
        let widths = ["200.0", "100.0", "300.0", "400.0"].map(bars_of);
        assert_eq!(widths, [2, 1, 1, 1], "{svg}");
        assert!(svg.contains(">60.0 ms<") && svg.contains(">20.0 ms<"), "{svg}");
        assert!(!svg.contains(Stage::Embedding.name()), "{svg}");
    }
}
