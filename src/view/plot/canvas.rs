//! Draws lines, markers and text in page pixels on any backend of plotters.

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::prelude::{Circle, DrawingBackend, PathElement, Polygon, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, TextStyle};

use super::font::Weight;

/// Backend pixels per page pixel. plotters rounds coordinates to whole pixels, which would visibly bend
/// curves and shift labels.
pub(super) const SCALE: f64 = 4.0;

/// Em of a text divided by the font size passed to plotters.
pub(super) const EM: f64 = 1.0 / 1.24;

/// Color of text and axes.
pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Color of secondary text and reference lines.
pub(super) const GREY: RGBColor = RGBColor(0x66, 0x66, 0x66);
/// Color of grid lines.
pub(super) const GRID: RGBColor = RGBColor(0xE4, 0xE4, 0xE4);
/// Color of the background and of the rim of markers.
pub(super) const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);

/// Okabe and Ito's palette, safe for color blindness.
const PALETTE: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
];

/// Color of the i-th series.
pub(super) fn color(i: usize) -> RGBColor {
    PALETTE[i % PALETTE.len()]
}

/// A position on the page, in pixels.
pub(super) type Xy = (f64, f64);

/// Result of drawing, with the message of plotters.
pub(super) type DrawResult = Result<(), String>;

/// Appearance and anchor of a text.
#[derive(Clone, Copy)]
pub(super) struct TextFormat {
    pub em: f64,
    pub weight: Weight,
    pub color: RGBColor,
    pub anchor: HPos,
    pub rotated: bool,
}

impl TextFormat {
    /// Regular weight and the main color, positioned by its left end.
    pub fn new(em: f64) -> Self {
        Self { em, weight: Weight::Regular, color: INK, anchor: HPos::Left, rotated: false }
    }

    pub fn bold(self) -> Self {
        Self { weight: Weight::Bold, ..self }
    }

    pub fn color(self, color: RGBColor) -> Self {
        Self { color, ..self }
    }

    pub fn anchor(self, anchor: HPos) -> Self {
        Self { anchor, ..self }
    }

    pub fn rotated(self) -> Self {
        Self { rotated: true, ..self }
    }
}

/// A page to draw on, in page pixels.
pub(super) struct Canvas<'a, B: DrawingBackend> {
    area: &'a DrawingArea<B, Shift>,
}

impl<'a, B: DrawingBackend> Canvas<'a, B> {
    pub fn new(area: &'a DrawingArea<B, Shift>) -> Self {
        Self { area }
    }

    pub fn clear(&self) -> DrawResult {
        self.area.fill(&PAPER).map_err(|e| e.to_string())
    }

    pub fn line(
        &self,
        points: impl IntoIterator<Item = Xy>,
        width: f64,
        color: RGBColor,
    ) -> DrawResult {
        let points: Vec<_> = points.into_iter().map(to_backend).collect();
        let style = stroke(color, width);
        self.area.draw(&PathElement::new(points, style)).map_err(|e| e.to_string())
    }

    /// Draws a horizontal dashed line.
    pub fn dashed_line(
        &self,
        left: f64,
        right: f64,
        y: f64,
        width: f64,
        color: RGBColor,
    ) -> DrawResult {
        let (dash, gap) = (6.0, 4.0);
        let count = ((right - left) / (dash + gap)).ceil() as usize;
        (0..count).map(|i| left + i as f64 * (dash + gap)).try_for_each(|start| {
            self.line([(start, y), ((start + dash).min(right), y)], width, color)
        })
    }

    pub fn text(&self, text: &str, (x, y): Xy, format: TextFormat) -> DrawResult {
        let weight = match format.weight {
            Weight::Regular => FontStyle::Normal,
            Weight::Bold => FontStyle::Bold,
        };
        let font = FontDesc::new(FontFamily::SansSerif, format.em * SCALE / EM, weight);
        let font = if format.rotated { font.transform(FontTransform::Rotate270) } else { font };
        let style =
            TextStyle::from(font).color(&format.color).pos(Pos::new(format.anchor, VPos::Center));
        self.area.draw_text(text, &style, to_backend((x, y))).map_err(|e| e.to_string())
    }

    /// Draws a filled rectangle.
    pub fn rectangle(&self, from: Xy, to: Xy, color: RGBColor) -> DrawResult {
        let style = plotters::style::Color::filled(&color);
        let rectangle = Rectangle::new([to_backend(from), to_backend(to)], style);
        self.area.draw(&rectangle).map_err(|e| e.to_string())
    }

    /// Draws the marker of the i-th series; both shape and color depend on i.
    pub fn marker(&self, i: usize, at: Xy, radius: f64) -> DrawResult {
        self.shape(i, at, radius + 1.2, PAPER)?;
        self.shape(i, at, radius, color(i))
    }

    fn shape(&self, i: usize, (x, y): Xy, radius: f64, color: RGBColor) -> DrawResult {
        let fill = plotters::style::Color::filled(&color);
        let polygon = |corners: &[Xy]| {
            let corners: Vec<_> =
                corners.iter().map(|(dx, dy)| to_backend((x + dx, y + dy))).collect();
            self.area.draw(&Polygon::new(corners, fill)).map_err(|e| e.to_string())
        };
        match i % 4 {
            0 => {
                let circle = Circle::new(to_backend((x, y)), radius * SCALE, fill);
                self.area.draw(&circle).map_err(|e| e.to_string())
            }
            1 => {
                let r = radius * 0.9;
                let corners = [to_backend((x - r, y - r)), to_backend((x + r, y + r))];
                self.area.draw(&Rectangle::new(corners, fill)).map_err(|e| e.to_string())
            }
            2 => {
                let r = radius * 1.15;
                polygon(&[(0.0, -r), (r, r * 0.8), (-r, r * 0.8)])
            }
            _ => {
                let r = radius * 1.25;
                polygon(&[(0.0, -r), (r, 0.0), (0.0, r), (-r, 0.0)])
            }
        }
    }
}

fn stroke(color: RGBColor, width: f64) -> plotters::style::ShapeStyle {
    let pixels = (width * SCALE).round().max(1.0) as u32;
    plotters::style::Color::stroke_width(&color, pixels)
}

fn to_backend((x, y): Xy) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}
