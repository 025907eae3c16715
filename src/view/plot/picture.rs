//! A plot with its settings, rendered as SVG or PNG.

use std::path::{Path, PathBuf};

use plotters::prelude::{DrawingBackend, IntoDrawingArea, SVGBackend};

use super::canvas::{Canvas, DrawResult, SCALE};
use super::chart::{Figure, Panel, Reference};
use super::font;
use super::heat::{self, HeatMap};
use super::raster::{self, Raster};
use super::render;
use super::style::PAGE;
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// A plot that renders as SVG or PNG.
///
/// Its settings apply to measured panels; the published panel does not change.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    name: &'static str,
    content: Content,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Figure(Figure),
    Map(HeatMap),
}

impl Plot {
    pub(super) fn new(name: &'static str, figure: Figure) -> Self {
        Self { name, content: Content::Figure(figure.drawable_only()) }
    }

    pub(super) fn from_heat_map(name: &'static str, map: HeatMap) -> Self {
        Self { name, content: Content::Map(map) }
    }

    /// The last panel, which shows measured values if there are any.
    fn last_panel(&mut self) -> Option<&mut Panel> {
        match &mut self.content {
            Content::Figure(figure) => figure.panels.last_mut(),
            Content::Map(_) => None,
        }
    }

    /// Sets the subtitle of the measured panel, for example corpus and scale.
    pub fn measured_on(mut self, note: impl Into<String>) -> Self {
        if let Some(panel) = self.last_panel().filter(|panel| panel.title != "Published") {
            panel.subtitle = note.into();
        }
        self
    }

    /// Adds a line at the lowest perplexity that a model can reach on the measured text.
    pub fn best_possible(mut self, perplexity: f64) -> Self {
        if let Some(panel) = self.last_panel().filter(|panel| panel.title != "Published") {
            let label = if perplexity < 1e6 {
                format!("best possible, {perplexity:.1}")
            } else {
                format!("best possible, {perplexity:.1e}")
            };
            panel.reference = Some(Reference { value: perplexity, label });
        }
        if let Content::Figure(figure) = self.content {
            self.content = Content::Figure(figure.drawable_only());
        }
        self
    }

    /// Sets the title.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        match &mut self.content {
            Content::Figure(figure) => figure.title = title.into(),
            Content::Map(map) => map.title = title.into(),
        }
        self
    }

    /// Sets the y label of the measured panel: "loss (nats per token)".
    pub fn y_label(mut self, label: impl Into<String>) -> Self {
        if let Some(panel) = self.last_panel() {
            panel.y_label = label.into();
        }
        self
    }

    fn page(&self) -> (u32, u32) {
        match &self.content {
            Content::Figure(figure) => figure.page,
            Content::Map(_) => PAGE,
        }
    }

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> DrawResult {
        match &self.content {
            Content::Figure(figure) => render::draw(canvas, figure),
            Content::Map(map) => heat::draw(canvas, map),
        }
    }

    /// Default file name, without extension.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Renders an SVG document of 900 × 520 pixels with selectable text.
    ///
    /// # Errors
    /// [`Error::Plot`] if plotters fails.
    pub fn svg(&self) -> Result<String> {
        self.svg_of_width(self.page().0)
    }

    /// Like [`Plot::svg`], with another display width in pixels.
    pub(crate) fn svg_of_width(&self, width: u32) -> Result<String> {
        let (page, size) = (self.page(), backend_size(self.page()));
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let result = self.draw(&Canvas::new(&area));
        let presented = area.present().map_err(|e| e.to_string());
        drop(area);
        result.and(presented).map_err(|problem| self.error("svg", problem))?;
        // The viewBox keeps backend pixels; the document has the requested size.
        let backend = format!("width=\"{}\" height=\"{}\" viewBox", size.0, size.1);
        let height = width * page.1 / page.0;
        let displayed = format!("width=\"{width}\" height=\"{height}\" role=\"img\" viewBox");
        Ok(svg.replacen(&backend, &displayed, 1))
    }

    /// Renders a PNG file of 1800 × 1040 pixels.
    ///
    /// # Errors
    /// [`Error::Plot`] if plotters or the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        let size = backend_size(self.page());
        let mut pixels = vec![0; size.0 as usize * size.1 as usize * 3];
        let area = Raster::new(&mut pixels, size).into_drawing_area();
        let result = self.draw(&Canvas::new(&area));
        drop(area);
        result
            .and_then(|()| raster::encode(&pixels, size).map_err(|e| e.to_string()))
            .map_err(|problem| self.error("png", problem))
    }

    /// A note that lists characters that the PNG shows as boxes, since its font lacks them; `None` if it has
    /// all.
    pub fn missing_in_png(&self) -> Option<String> {
        let missing = match &self.content {
            Content::Figure(figure) => font::missing_glyphs(figure.texts()),
            Content::Map(map) => font::missing_glyphs(map.texts()),
        };
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
        for (path, bytes) in paths.iter().zip([self.svg()?.into_bytes(), self.png()?]) {
            atomic_file::write(path, &bytes).map_err(Error::io(path, "write"))?;
        }
        Ok(paths)
    }

    fn error(&self, extension: &str, problem: String) -> Error {
        Error::Plot { path: PathBuf::from(format!("{}.{extension}", self.name)), problem }
    }
}

fn backend_size(page: (u32, u32)) -> (u32, u32) {
    let scaled = |pixels: u32| (f64::from(pixels) * SCALE) as u32;
    (scaled(page.0), scaled(page.1))
}
