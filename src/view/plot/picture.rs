//! A plot with its settings, rendered as SVG or PNG.

use std::path::{Path, PathBuf};

use super::chart::{Content, Figure, Panel, Reference, drawable};
use super::{bitmap, font, render};
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// A plot that renders as SVG or PNG.
///
/// Its settings apply to measured panels; the published panel does not change.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    name: &'static str,
    figure: Figure,
}

impl Plot {
    pub(super) fn new(name: &'static str, figure: Figure) -> Self {
        Self { name, figure }
    }

    /// Changes the last panel, if it shows measured values.
    fn measured(mut self, change: impl FnOnce(&mut Panel)) -> Self {
        if let Content::Panels(panels) = &mut self.figure.content
            && let Some(panel) = panels.last_mut().filter(|panel| panel.title != "Published")
        {
            change(panel);
        }
        self
    }

    /// Sets the subtitle of the measured panel, for example corpus and scale.
    pub fn measured_on(self, note: impl Into<String>) -> Self {
        self.measured(|panel| panel.subtitle = note.into())
    }

    /// Adds a line at the lowest perplexity that a model can reach on the measured text.
    pub fn best_possible(self, perplexity: f64) -> Self {
        let label = if perplexity < 1e6 {
            format!("best possible, {perplexity:.1}")
        } else {
            format!("best possible, {perplexity:.1e}")
        };
        let reference = drawable(perplexity).then_some(Reference { value: perplexity, label });
        self.measured(|panel| panel.reference = reference)
    }

    /// Sets the title.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.figure.title = title.into();
        self
    }

    /// Sets the y label of the measured panel: "loss (nats per token)".
    pub fn y_label(self, label: impl Into<String>) -> Self {
        self.measured(|panel| panel.y_label = label.into())
    }

    /// Default file name, without extension.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Renders an SVG document of 900 × 520 pixels with selectable text.
    pub fn svg(&self) -> String {
        self.svg_of_width(self.figure.page.0)
    }

    /// Like [`Plot::svg`], with another display width in pixels.
    pub(crate) fn svg_of_width(&self, width: u32) -> String {
        render::draw(&self.figure).svg(width)
    }

    /// Renders a PNG file of 1800 × 1040 pixels.
    ///
    /// # Errors
    /// [`Error::Plot`] if the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        let path = || PathBuf::from(format!("{}.png", self.name));
        bitmap::png(&render::draw(&self.figure))
            .map_err(|problem| Error::Plot { path: path(), problem })
    }

    /// A note that lists characters that the PNG shows as boxes, since its font lacks them; `None` if it has
    /// all.
    pub fn missing_in_png(&self) -> Option<String> {
        let canvas = render::draw(&self.figure);
        let missing = font::missing_glyphs(canvas.texts());
        let first: String = missing.iter().take(20).collect();
        (!missing.is_empty()).then(|| {
            format!(
                "the PNG shows boxes for characters that its font lacks ({first}); the SVG is complete"
            )
        })
    }

    /// Writes `stem`.svg and `stem`.png to an existing folder and returns their paths.
    ///
    /// # Errors
    /// [`Error::Plot`] if rendering fails; [`Error::Io`] if a file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>, stem: &str) -> Result<[PathBuf; 2]> {
        let path = |extension| folder.as_ref().join(format!("{stem}.{extension}"));
        let paths = [path("svg"), path("png")];
        for (path, bytes) in paths.iter().zip([self.svg().into_bytes(), self.png()?]) {
            atomic_file::write(path, &bytes).map_err(Error::io(path, "write"))?;
        }
        Ok(paths)
    }
}
