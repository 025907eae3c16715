//! A finished plot: its settings, and its SVG and PNG.

use std::path::{Path, PathBuf};

use plotters::prelude::{DrawingBackend, IntoDrawingArea, SVGBackend};

use super::canvas::{Canvas, Drawn, FINENESS};
use super::chart::{Figure, Panel, Reference};
use super::font;
use super::heat::{self, HeatMap};
use super::raster::{self, Raster};
use super::render;
use super::style::PAGE;
use crate::{Error, Result};
use qrnn_ops::atomic_file;

/// A plot, to be had as SVG or PNG.
///
/// The settings below concern what was measured; the published panel stays as it is.
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
        Self { name, content: Content::Figure(figure.without_gaps()) }
    }

    pub(super) fn of_map(name: &'static str, map: HeatMap) -> Self {
        Self { name, content: Content::Map(map) }
    }

    /// The last panel, which shows what was measured.
    fn last_panel(&mut self) -> Option<&mut Panel> {
        match &mut self.content {
            Content::Figure(figure) => figure.panels.last_mut(),
            Content::Map(_) => None,
        }
    }

    /// Says under the measured panel's title what was measured: text, scale.
    pub fn measured_on(mut self, note: impl Into<String>) -> Self {
        if let Some(panel) = self.last_panel().filter(|panel| panel.title != "Published") {
            panel.subtitle = note.into();
        }
        self
    }

    /// Draws the lowest perplexity that any model of the measured text can reach.
    pub fn best_possible(mut self, perplexity: f64) -> Self {
        if let Some(panel) = self.last_panel().filter(|panel| panel.title != "Published") {
            let label = match perplexity < 1e6 {
                true => format!("best possible, {perplexity:.1}"),
                false => format!("best possible, {perplexity:.1e}"),
            };
            panel.reference = Some(Reference { value: perplexity, label });
        }
        if let Content::Figure(figure) = self.content {
            self.content = Content::Figure(figure.without_gaps());
        }
        self
    }

    /// Replaces the title.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        match &mut self.content {
            Content::Figure(figure) => figure.title = title.into(),
            Content::Map(map) => map.title = title.into(),
        }
        self
    }

    /// Names the vertical axis of what was measured, with its unit: "loss (nats a word)".
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

    fn draw<B: DrawingBackend>(&self, canvas: &Canvas<'_, B>) -> Drawn {
        match &self.content {
            Content::Figure(figure) => render::figure(canvas, figure),
            Content::Map(map) => heat::map(canvas, map),
        }
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
        self.svg_of_width(self.page().0)
    }

    /// The same, to be shown at another width in pixels.
    pub(crate) fn svg_of_width(&self, width: u32) -> Result<String> {
        let (page, size) = (self.page(), backend_size(self.page()));
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = self.draw(&Canvas::new(&area));
        let presented = area.present().map_err(|e| e.to_string());
        drop(area);
        drawn.and(presented).map_err(|problem| self.failed("svg", problem))?;
        // The fine grid stays in the viewBox; the document has the size of the page.
        let fine = format!("width=\"{}\" height=\"{}\" viewBox", size.0, size.1);
        let height = width * page.1 / page.0;
        let shown = format!("width=\"{width}\" height=\"{height}\" role=\"img\" viewBox");
        Ok(svg.replacen(&fine, &shown, 1))
    }

    /// The plot as a PNG file, 1800 by 1040 pixels.
    ///
    /// # Errors
    /// [`Error::Plot`] where plotters or the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>> {
        let size = backend_size(self.page());
        let mut pixels = vec![0; size.0 as usize * size.1 as usize * 3];
        let area = Raster::new(&mut pixels, size).into_drawing_area();
        let drawn = self.draw(&Canvas::new(&area));
        drop(area);
        drawn
            .and_then(|()| raster::encode(&pixels, size).map_err(|e| e.to_string()))
            .map_err(|problem| self.failed("png", problem))
    }

    /// What to say of a PNG that shows boxes in place of characters, since its font has none for them.
    pub fn missing_in_png(&self) -> Option<String> {
        let missing = match &self.content {
            Content::Figure(figure) => font::missing(figure.texts()),
            Content::Map(map) => font::missing(map.texts()),
        };
        let some: String = missing.iter().take(20).collect();
        (!missing.is_empty()).then(|| {
            format!(
                "the PNG shows boxes for what its font does not have ({some}); the SVG is complete"
            )
        })
    }

    /// Writes `stem`.svg and `stem`.png into a folder that exists, and gives their paths.
    ///
    /// # Errors
    /// [`Error::Plot`] where drawing fails, [`Error::Io`] where the folder or disk refuses.
    pub fn save(&self, folder: impl AsRef<Path>, stem: &str) -> Result<[PathBuf; 2]> {
        let path = |extension| folder.as_ref().join(format!("{stem}.{extension}"));
        let paths = [path("svg"), path("png")];
        for (path, bytes) in paths.iter().zip([self.svg()?.into_bytes(), self.png()?]) {
            atomic_file::write(path, &bytes).map_err(Error::io(path, "write"))?;
        }
        Ok(paths)
    }

    fn failed(&self, extension: &str, problem: String) -> Error {
        Error::Plot { path: PathBuf::from(format!("{}.{extension}", self.name)), problem }
    }
}

fn backend_size(page: (u32, u32)) -> (u32, u32) {
    let fine = |pixels: u32| (f64::from(pixels) * FINENESS) as u32;
    (fine(page.0), fine(page.1))
}
