//! Heat maps: tokens on the x axis, units on the y axis.

use plotters::prelude::DrawingBackend;
use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::canvas::{Canvas, DrawResult, GREY, TextFormat};
use super::font::{Weight, width};
use super::style::{PAGE, SMALL};

/// Number of shades; adjacent cells of the same shade are drawn as one rectangle.
const SHADES: usize = 24;

const LEFT: f64 = 72.0;
const TOP: f64 = 66.0;
const RIGHT: f64 = 96.0;
/// Maximum width of a token label, in pixels.
const LABEL_WIDTH: f64 = 110.0;

/// Colors of 0, 1/2 and 1, from dark to light so that black-and-white prints are readable.
const COLORS: [(f64, f64, f64); 3] =
    [(13.0, 44.0, 84.0), (42.0, 138.0, 160.0), (250.0, 236.0, 170.0)];

/// Values from 0 to 1 for each unit and token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeatMap {
    pub title: String,
    pub subtitle: String,
    pub x_labels: Vec<String>,
    /// Name of each unit and its values, one per token.
    pub rows: Vec<(String, Vec<f64>)>,
    /// Meanings of 0 and 1, for the legend.
    pub ends: [&'static str; 2],
}

impl HeatMap {
    /// All texts of the heat map except numbers.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.x_labels.iter().chain([&self.title, &self.subtitle]).map(String::as_str)
    }
}

/// Draws the heat map on a whole page.
pub(super) fn draw<B: DrawingBackend>(canvas: &Canvas<'_, B>, map: &HeatMap) -> DrawResult {
    canvas.clear()?;
    canvas.text(&map.title, (LEFT, 24.0), TextFormat::new(17.0).bold())?;
    canvas.text(&map.subtitle, (LEFT, 46.0), TextFormat::new(SMALL).color(GREY))?;
    let longest = map.x_labels.iter().map(|label| width(label, Weight::Regular, SMALL));
    let labels = longest.fold(0.0, f64::max).min(LABEL_WIDTH);
    let (page_width, page_height) = (f64::from(PAGE.0), f64::from(PAGE.1));
    let (right, bottom) = (page_width - RIGHT, page_height - labels - 18.0);
    let (columns, rows) = (map.x_labels.len().max(1) as f64, map.rows.len().max(1) as f64);
    let (cell_width, cell_height) = ((right - LEFT) / columns, (bottom - TOP) / rows);

    for (i, (name, values)) in map.rows.iter().enumerate() {
        let top = TOP + i as f64 * cell_height;
        let mut start = 0;
        while start < values.len() {
            let shade = shade(values[start]);
            let count = values[start..].iter().take_while(|&&v| self::shade(v) == shade).count();
            let (from, to) = (start as f64, (start + count) as f64);
            let corner = (LEFT + from * cell_width, top);
            let opposite = (LEFT + to * cell_width, top + cell_height);
            canvas.rectangle(corner, opposite, color(shade as f64 / (SHADES - 1) as f64))?;
            start += count;
        }
        // Skip names that would overlap.
        if i % (13.0 / cell_height).ceil().max(1.0) as usize == 0 {
            let format = TextFormat::new(SMALL * 0.9).color(GREY).anchor(HPos::Right);
            canvas.text(name, (LEFT - 6.0, top + cell_height / 2.0), format)?;
        }
    }
    let label_step = (13.0 / cell_width).ceil().max(1.0) as usize;
    for (i, label) in map.x_labels.iter().enumerate().step_by(label_step) {
        let x = LEFT + (i as f64 + 0.5) * cell_width;
        let format = TextFormat::new(SMALL).anchor(HPos::Right).rotated();
        canvas.text(&truncated(label), (x, bottom + 6.0), format)?;
    }
    legend(canvas, map, right + 18.0, bottom)
}

fn legend<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    map: &HeatMap,
    x: f64,
    bottom: f64,
) -> DrawResult {
    let height = (bottom - TOP).min(200.0);
    let step = height / SHADES as f64;
    for i in 0..SHADES {
        let top = TOP + i as f64 * step;
        let value = 1.0 - i as f64 / (SHADES - 1) as f64;
        canvas.rectangle((x, top), (x + 14.0, top + step), color(value))?;
    }
    let [low, high] = map.ends;
    let texts = [("1", high, TOP + 6.0), ("0", low, TOP + height - 6.0)];
    texts.into_iter().try_for_each(|(value, meaning, y)| {
        canvas.text(
            &format!("{value} {meaning}"),
            (x + 20.0, y),
            TextFormat::new(SMALL).color(GREY),
        )
    })
}

fn shade(value: f64) -> usize {
    (value.clamp(0.0, 1.0) * (SHADES - 1) as f64).round() as usize
}

fn color(value: f64) -> RGBColor {
    let (from, to, fraction) = match value {
        v if v < 0.5 => (COLORS[0], COLORS[1], 2.0 * v),
        v => (COLORS[1], COLORS[2], 2.0 * v - 1.0),
    };
    let mix = |a: f64, b: f64| (a + (b - a) * fraction).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

fn truncated(label: &str) -> String {
    if width(label, Weight::Regular, SMALL) <= LABEL_WIDTH {
        return label.into();
    }
    let mut truncated: String = label.into();
    while width(&format!("{truncated}…"), Weight::Regular, SMALL) > LABEL_WIDTH
        && truncated.pop().is_some()
    {}
    truncated + "…"
}
