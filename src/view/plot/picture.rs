//! Settings of a plot, and its SVG and PNG.

use std::path::{Path, PathBuf};

use super::chart::{Content, Panel, Plot, Reference, drawable};
use super::{bitmap, font, render};
use crate::{Error, Result};
use qrnn_ops::atomic_file;

impl Plot {
    /// Changes the last panel, if it shows measured values.
    fn measured(mut self, change: impl FnOnce(&mut Panel)) -> Self {
        if let Content::Panels(panels) = &mut self.content
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
        self.title = title.into();
        self
    }

    /// Default file name, without extension.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Renders an SVG document with selectable text, of 900 × 520 pixels unless a strip is below it.
    pub fn svg(&self) -> String {
        self.svg_of_width(self.page.0)
    }

    /// Like [`Plot::svg`], with another display width in pixels.
    pub(crate) fn svg_of_width(&self, width: u32) -> String {
        render::draw(self).svg(width)
    }

    /// Renders a PNG file of twice the pixels of the SVG.
    ///
    /// # Errors
    /// [`Error::Plot`] if the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        let path = || PathBuf::from(format!("{}.png", self.name));
        bitmap::png(&render::draw(self)).map_err(|problem| Error::Plot { path: path(), problem })
    }

    /// A note that lists characters that the PNG shows as boxes, since its font lacks them; `None` if it has
    /// all.
    pub fn missing_in_png(&self) -> Option<String> {
        let canvas = render::draw(self);
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
