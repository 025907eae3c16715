//! A finished plot: its settings, and its SVG and PNG.

use std::path::{Path, PathBuf};

use plotters::prelude::{IntoDrawingArea, SVGBackend};

use super::canvas::{Canvas, FINENESS};
use super::chart::{Figure, Reference};
use super::draw::{self, PAGE};
use super::raster::{self, Raster};
use crate::{Error, Result, atomic_file};

/// A plot, to be had as SVG or PNG.
///
/// The settings below concern what was measured; the published panel stays as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    name: &'static str,
    figure: Figure,
}

impl Plot {
    pub(super) fn new(name: &'static str, figure: Figure) -> Self {
        Self { name, figure: figure.without_gaps() }
    }

    /// Says under the measured panel's title what was measured: text, scale.
    pub fn measured_on(mut self, note: impl Into<String>) -> Self {
        if let Some(panel) = self.figure.panels.last_mut().filter(|p| p.title != "Published") {
            panel.subtitle = note.into();
        }
        self
    }

    /// Draws the lowest perplexity that any model of the measured text can reach.
    pub fn best_possible(mut self, perplexity: f64) -> Self {
        if let Some(panel) = self.figure.panels.last_mut().filter(|p| p.title != "Published") {
            let label = format!("best possible, {perplexity:.1}");
            panel.reference = Some(Reference { value: perplexity, label });
        }
        self.figure = self.figure.without_gaps();
        self
    }

    /// Replaces the title.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.figure.title = title.into();
        self
    }

    /// Names the vertical axis of what was measured, with its unit: "loss (nats a word)".
    pub fn y_label(mut self, label: impl Into<String>) -> Self {
        if let Some(panel) = self.figure.panels.last_mut() {
            panel.y_label = label.into();
        }
        self
    }

    /// The name under which the plot is saved by default, without extension.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The plot as an SVG document, 900 by 520 pixels, its text as text.
    ///
    /// # Errors
    /// [`Error::Plot`] where plotters fails.
    pub fn svg(&self) -> Result<String> {
        let size = backend_size();
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = draw::figure(&Canvas::new(&area), &self.figure);
        let presented = area.present().map_err(|e| e.to_string());
        drop(area);
        drawn.and(presented).map_err(|problem| self.failed("svg", problem))?;
        // The fine grid stays in the viewBox; the document has the size of the page.
        let fine = format!("width=\"{}\" height=\"{}\" viewBox", size.0, size.1);
        let page = format!("width=\"{}\" height=\"{}\" role=\"img\" viewBox", PAGE.0, PAGE.1);
        Ok(svg.replacen(&fine, &page, 1))
    }

    /// The plot as a PNG file, 1800 by 1040 pixels.
    ///
    /// # Errors
    /// [`Error::Plot`] where plotters or the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        let size = backend_size();
        let mut pixels = vec![0; size.0 as usize * size.1 as usize * 3];
        let area = Raster::new(&mut pixels, size).into_drawing_area();
        let drawn = draw::figure(&Canvas::new(&area), &self.figure);
        drop(area);
        drawn
            .and_then(|()| raster::encode(&pixels, size).map_err(|e| e.to_string()))
            .map_err(|problem| self.failed("png", problem))
    }

    /// Writes `stem`.svg and `stem`.png into a folder that exists, and gives their paths.
    ///
    /// # Errors
    /// [`Error::Plot`] where drawing fails, [`Error::Io`] where the folder or disk refuses.
    pub fn save(&self, folder: impl AsRef<Path>, stem: &str) -> Result<[PathBuf; 2]> {
        let path = |extension| folder.as_ref().join(format!("{stem}.{extension}"));
        let paths = [path("svg"), path("png")];
        atomic_file::write(&paths[0], self.svg()?.as_bytes())?;
        atomic_file::write(&paths[1], &self.png()?)?;
        Ok(paths)
    }

    fn failed(&self, extension: &str, problem: String) -> Error {
        Error::Plot { path: PathBuf::from(format!("{}.{extension}", self.name)), problem }
    }
}

fn backend_size() -> (u32, u32) {
    let fine = |pixels: u32| (f64::from(pixels) * FINENESS) as u32;
    (fine(PAGE.0), fine(PAGE.1))
}
