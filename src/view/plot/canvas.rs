//! A page of lines, shapes and texts in page pixels, written as SVG.

use std::fmt;

use maud::{Markup, Render, html};

use super::font::X_HEIGHT;

/// Color of text and axes.
pub(super) const INK: Color = Color(0x222222);
/// Color of secondary text and reference lines.
pub(super) const GREY: Color = Color(0x666666);
/// Color of grid lines.
pub(super) const GRID: Color = Color(0xE4E4E4);
/// Color of the background and of the rim of markers.
const PAPER: Color = Color(0xFFFFFF);

/// Okabe and Ito's palette, safe for color blindness.
const PALETTE: [u32; 6] = [0x0072B2, 0xD55E00, 0x009E73, 0xCC79A7, 0xE69F00, 0x56B4E9];

/// Radius of a marker.
pub(super) const MARKER: f64 = 4.5;

/// Lengths of the dashes and gaps of a dashed line.
pub(super) const DASHES: [f64; 2] = [6.0, 4.0];

/// Red, green and blue: 0xRRGGBB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Color(pub u32);

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:06X}", self.0)
    }
}

/// Color of the i-th series.
pub(super) fn color(i: usize) -> Color {
    Color(PALETTE[i % PALETTE.len()])
}

/// A position on the page, in pixels.
pub(super) type Xy = (f64, f64);

/// The part of a text that its position names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Anchor {
    Left,
    Center,
    Right,
}

/// Appearance and anchor of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextFormat {
    pub em: f64,
    pub bold: bool,
    pub color: Color,
    pub anchor: Anchor,
    /// Whether the text reads upwards.
    pub rotated: bool,
}

impl TextFormat {
    /// Regular weight and the main color, positioned by its left end.
    pub fn new(em: f64) -> Self {
        Self { em, bold: false, color: INK, anchor: Anchor::Left, rotated: false }
    }

    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub fn color(self, color: Color) -> Self {
        Self { color, ..self }
    }

    pub fn anchor(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    pub fn rotated(self) -> Self {
        Self { rotated: true, ..self }
    }

    /// Distance from the middle of a lower-case x to the baseline.
    pub fn baseline(&self) -> f64 {
        0.5 * X_HEIGHT * self.em
    }
}

#[derive(Debug)]
pub(super) enum Shape {
    Line {
        points: Vec<Xy>,
        width: f64,
        dashed: bool,
        color: Color,
    },
    /// Filled to whole pixels, so that neighbors have no seam.
    Rectangle {
        from: Xy,
        to: Xy,
        color: Color,
    },
    Polygon {
        corners: Vec<Xy>,
        color: Color,
    },
    Circle {
        center: Xy,
        radius: f64,
        color: Color,
    },
    Text {
        text: String,
        at: Xy,
        format: TextFormat,
    },
}

/// A page to draw on.
pub(super) struct Canvas {
    pub size: (u32, u32),
    pub shapes: Vec<Shape>,
}

impl Canvas {
    /// An empty page with a background.
    pub fn new(size: (u32, u32)) -> Self {
        let mut canvas = Self { size, shapes: vec![] };
        canvas.rectangle((0.0, 0.0), (size.0.into(), size.1.into()), PAPER);
        canvas
    }

    pub fn line(&mut self, points: impl Into<Vec<Xy>>, width: f64, color: Color) {
        self.shapes.push(Shape::Line { points: points.into(), width, dashed: false, color });
    }

    pub fn dashed_line(&mut self, points: [Xy; 2], width: f64, color: Color) {
        self.shapes.push(Shape::Line { points: points.into(), width, dashed: true, color });
    }

    /// Draws a text whose lower-case letters are vertically centered at the position.
    pub fn text(&mut self, text: impl Into<String>, at: Xy, format: TextFormat) {
        self.shapes.push(Shape::Text { text: text.into(), at, format });
    }

    pub fn rectangle(&mut self, from: Xy, to: Xy, color: Color) {
        self.shapes.push(Shape::Rectangle { from, to, color });
    }

    /// Draws the marker of the i-th series; both shape and color depend on i.
    pub fn marker(&mut self, i: usize, at: Xy, radius: f64) {
        self.shapes.push(marker(i, at, radius + 1.2, PAPER));
        self.shapes.push(marker(i, at, radius, color(i)));
    }

    /// Draws a round marker of this color, without a rim.
    pub fn dot(&mut self, center: Xy, radius: f64, color: Color) {
        self.shapes.push(Shape::Circle { center, radius, color });
    }

    /// All texts on the page.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.shapes.iter().filter_map(|shape| match shape {
            Shape::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
    }

    /// The page as SVG with selectable text, displayed at `width` pixels.
    pub fn svg(&self, width: u32) -> String {
        let (page_width, page_height) = self.size;
        let svg = html! {
            svg width=(width) height=(width * page_height / page_width) role="img"
                viewBox={ "0 0 " (page_width) " " (page_height) }
                xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" {
                @for shape in &self.shapes { (shape) "\n" }
            }
        };
        svg.into_string()
    }
}

fn marker(i: usize, (x, y): Xy, radius: f64, color: Color) -> Shape {
    let corners: &[Xy] = match i % 4 {
        0 => return Shape::Circle { center: (x, y), radius, color },
        1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2 => &[(0.0, -1.15), (1.15, 0.92), (-1.15, 0.92)],
        _ => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
    };
    let corners = corners.iter().map(|(dx, dy)| (x + dx * radius, y + dy * radius)).collect();
    Shape::Polygon { corners, color }
}

impl Render for Shape {
    fn render(&self) -> Markup {
        match self {
            Self::Line { points, width, dashed, color } => html! {
                polyline points=(list(points)) fill="none" stroke=(color) stroke-width=(width)
                    stroke-dasharray=[dashed.then(|| DASHES.map(|length| length.to_string()).join(" "))] {}
            },
            Self::Rectangle { from, to, color } => html! {
                rect x=(short(from.0)) y=(short(from.1)) width=(short(to.0 - from.0))
                    height=(short(to.1 - from.1)) fill=(color) shape-rendering="crispEdges" {}
            },
            Self::Polygon { corners, color } => html! {
                polygon points=(list(corners)) fill=(color) {}
            },
            Self::Circle { center, radius, color } => html! {
                circle cx=(short(center.0)) cy=(short(center.1)) r=(short(*radius)) fill=(color) {}
            },
            Self::Text { text, at: (x, y), format } => {
                let (x, y, baseline) = (short(*x), short(*y), short(format.baseline()));
                let anchor = match format.anchor {
                    Anchor::Left => "start",
                    Anchor::Center => "middle",
                    Anchor::Right => "end",
                };
                html! {
                    text x=(x) y=(y) dy=(baseline) text-anchor=(anchor) font-size=(format.em)
                        font-weight=[format.bold.then_some("bold")] fill=(format.color)
                        transform=[format.rotated.then(|| format!("rotate(270 {x} {y})"))] { (text) }
                }
            }
        }
    }
}

/// Rounds to hundredths of a pixel, which shortens files.
fn short(pixels: f64) -> f64 {
    (pixels * 100.0).round() / 100.0
}

fn list(points: &[Xy]) -> String {
    let pairs: Vec<_> = points.iter().map(|&(x, y)| format!("{},{}", short(x), short(y))).collect();
    pairs.join(" ")
}
