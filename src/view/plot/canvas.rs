//! Strokes, markers and text in page pixels, on any of plotters' backends.

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::prelude::{Circle, DrawingBackend, PathElement, Polygon, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, FontTransform, RGBColor, TextStyle};

use super::font::Weight;

/// Backend pixels a page pixel: plotters places everything on whole pixels, which would bend
/// curves and shift labels visibly.
pub(super) const FINENESS: f64 = 4.0;

/// Em of a text over the size that plotters is asked for.
pub(super) const EM: f64 = 1.0 / 1.24;

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Text of second rank, and reference lines.
pub(super) const GREY: RGBColor = RGBColor(0x66, 0x66, 0x66);
/// Grid lines.
pub(super) const GRID: RGBColor = RGBColor(0xE4, 0xE4, 0xE4);
/// Background, and the rim of markers.
pub(super) const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);

/// Okabe and Ito's colors, told apart with any color vision.
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

/// A point of the page.
pub(super) type At = (f64, f64);

/// Done, or what plotters said.
pub(super) type Drawn = Result<(), String>;

/// How a text looks and which of its points is given.
#[derive(Clone, Copy)]
pub(super) struct Type {
    pub em: f64,
    pub weight: Weight,
    pub color: RGBColor,
    pub anchor: HPos,
    pub upwards: bool,
}

impl Type {
    /// Regular text in ink, given by its left end.
    pub fn new(em: f64) -> Self {
        Self { em, weight: Weight::Regular, color: INK, anchor: HPos::Left, upwards: false }
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

    pub fn upwards(self) -> Self {
        Self { upwards: true, ..self }
    }
}

/// A page to draw on.
pub(super) struct Canvas<'a, B: DrawingBackend> {
    area: &'a DrawingArea<B, Shift>,
}

impl<'a, B: DrawingBackend> Canvas<'a, B> {
    pub fn new(area: &'a DrawingArea<B, Shift>) -> Self {
        Self { area }
    }

    pub fn blank(&self) -> Drawn {
        self.area.fill(&PAPER).map_err(|e| e.to_string())
    }

    pub fn line(&self, points: impl IntoIterator<Item = At>, width: f64, color: RGBColor) -> Drawn {
        let points: Vec<_> = points.into_iter().map(fine).collect();
        let style = stroke(color, width);
        self.area.draw(&PathElement::new(points, style)).map_err(|e| e.to_string())
    }

    /// A level line of dashes.
    pub fn dashes(&self, left: f64, right: f64, y: f64, width: f64, color: RGBColor) -> Drawn {
        let (dash, gap) = (6.0, 4.0);
        let count = ((right - left) / (dash + gap)).ceil() as usize;
        (0..count).map(|i| left + i as f64 * (dash + gap)).try_for_each(|start| {
            self.line([(start, y), ((start + dash).min(right), y)], width, color)
        })
    }

    pub fn text(&self, text: &str, (x, y): At, look: Type) -> Drawn {
        let weight = match look.weight {
            Weight::Regular => FontStyle::Normal,
            Weight::Bold => FontStyle::Bold,
        };
        let font = FontDesc::new(FontFamily::SansSerif, look.em * FINENESS / EM, weight);
        let font = if look.upwards { font.transform(FontTransform::Rotate270) } else { font };
        let style =
            TextStyle::from(font).color(&look.color).pos(Pos::new(look.anchor, VPos::Center));
        self.area.draw_text(text, &style, fine((x, y))).map_err(|e| e.to_string())
    }

    /// A rectangle without a rim.
    pub fn rectangle(&self, from: At, to: At, color: RGBColor) -> Drawn {
        let style = plotters::style::Color::filled(&color);
        let rectangle = Rectangle::new([fine(from), fine(to)], style);
        self.area.draw(&rectangle).map_err(|e| e.to_string())
    }

    /// The marker of the i-th series: shapes differ as well as colors.
    pub fn marker(&self, i: usize, at: At, radius: f64) -> Drawn {
        self.shape(i, at, radius + 1.2, PAPER)?;
        self.shape(i, at, radius, color(i))
    }

    fn shape(&self, i: usize, (x, y): At, radius: f64, color: RGBColor) -> Drawn {
        let fill = plotters::style::Color::filled(&color);
        let polygon = |corners: &[At]| {
            let corners: Vec<_> = corners.iter().map(|(dx, dy)| fine((x + dx, y + dy))).collect();
            self.area.draw(&Polygon::new(corners, fill)).map_err(|e| e.to_string())
        };
        match i % 4 {
            0 => {
                let circle = Circle::new(fine((x, y)), radius * FINENESS, fill);
                self.area.draw(&circle).map_err(|e| e.to_string())
            }
            1 => {
                let r = radius * 0.9;
                let corners = [fine((x - r, y - r)), fine((x + r, y + r))];
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
    let pixels = (width * FINENESS).round().max(1.0) as u32;
    plotters::style::Color::stroke_width(&color, pixels)
}

fn fine((x, y): At) -> (i32, i32) {
    ((x * FINENESS).round() as i32, (y * FINENESS).round() as i32)
}
