//! The figures of an experiment in a notebook, drawn anew after each of its runs.

use maud::{PreEscaped, html};

use crate::notebook::{LiveDisplay, MimeBundle};
use crate::paper::results::ReproduceResults;
use crate::view::show::WIDTH;

/// The figures, below the table of the runs; nothing outside a notebook.
pub struct LiveFigure(Option<LiveDisplay>);

impl LiveFigure {
    pub fn here() -> Self {
        Self(LiveDisplay::in_notebook())
    }

    /// Draws the measured points, with error bars if there are several seeds.
    pub fn show(&mut self, results: &ReproduceResults) {
        let Some(display) = &mut self.0 else { return };
        let plots = [results.parameters_figure(), results.lengths_figure()];
        let svgs: Vec<String> =
            plots.iter().flatten().map(|plot| plot.svg_of_width(WIDTH)).collect();
        if svgs.is_empty() {
            return;
        }
        let missing = match results.missing.len() {
            0 => "all runs are finished".to_owned(),
            1 => "one run is missing".to_owned(),
            missing => format!("{missing} runs are missing"),
        };
        let figures = html! { @for svg in &svgs { div { (PreEscaped(svg)) } } };
        display.show(&MimeBundle::html(figures, format!("figures: {missing}")));
    }
}
