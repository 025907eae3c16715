//! Time of the stages of a step, as a bar chart.

use std::collections::BTreeMap;
use std::path::Path;

use plotters::prelude::*;
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
///
/// # Errors
/// [`Error::Plot`] if the file cannot be written.
pub fn render(bars: &[Bar], path: &Path) -> Result<()> {
    let plot_error = |problem: String| Error::Plot { path: path.into(), problem };
    let names = names(bars);
    let (width, left, row) = (860, 170, 34);
    let height = (bars.len() as i32 + 1) * row + 30 + 20 * names.len() as i32;
    let longest = bars.iter().map(|bar| bar.seconds).fold(1e-9, f64::max);
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, (width as u32, height as u32))
            .into_drawing_area();
        let label = ("sans-serif", 13).into_font();
        let draw = || -> Result<(), Box<dyn std::error::Error>> {
            area.fill(&WHITE)?;
            for (i, bar) in bars.iter().enumerate() {
                let top = 10 + i as i32 * row;
                area.draw(&Text::new(bar.name.clone(), (10, top + 6), label.clone()))?;
                let mut at = 0.0;
                for (k, name) in names.iter().enumerate() {
                    let end = at + bar.of(name);
                    let x = |seconds: f64| {
                        left + (seconds / longest * f64::from(width - left - 90)) as i32
                    };
                    let style = Palette99::pick(k).filled();
                    area.draw(&Rectangle::new([(x(at), top), (x(end), top + row - 12)], style))?;
                    at = end;
                }
                let end = left + (bar.seconds / longest * f64::from(width - left - 90)) as i32;
                let text = format!("{:.1} ms", 1e3 * bar.seconds);
                area.draw(&Text::new(text, (end + 6, top + 6), label.clone()))?;
            }
            for (k, name) in names.iter().enumerate() {
                let top = bars.len() as i32 * row + 20 + 20 * k as i32;
                let style = Palette99::pick(k).filled();
                area.draw(&Rectangle::new([(left, top), (left + 14, top + 12)], style))?;
                area.draw(&Text::new(*name, (left + 22, top), label.clone()))?;
            }
            area.present()?;
            Ok(())
        };
        draw().map_err(|error| plot_error(error.to_string()))?;
    }
    std::fs::write(path, picture).map_err(|error| plot_error(error.to_string()))
}
