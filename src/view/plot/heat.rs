//! Heat maps: tokens on the x axis, units on the y axis.

use super::canvas::{Anchor, Canvas, Color, GREY, TextFormat};
use super::font::{SMALL, shortened, width};

/// Number of shades; adjacent cells of the same shade are drawn as one rectangle.
const SHADES: usize = 24;

const LEFT: f64 = 72.0;
const TOP: f64 = 66.0;
const RIGHT: f64 = 96.0;
/// Maximum width of a token label, in pixels.
const LABEL_WIDTH: f64 = 110.0;

/// Colors of 0, 1/2 and 1, from dark to light so that black-and-white prints are readable.
const COLORS: [[f64; 3]; 3] = [[13.0, 44.0, 84.0], [42.0, 138.0, 160.0], [250.0, 236.0, 170.0]];

/// Values from 0 to 1 for each unit and token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeatMap {
    pub subtitle: String,
    pub x_labels: Vec<String>,
    /// Name of each unit and its values, one per token.
    pub rows: Vec<(String, Vec<f64>)>,
    /// Meanings of 0 and 1, for the legend.
    pub ends: [&'static str; 2],
}

/// Draws the heat map below the title.
pub(super) fn draw(canvas: &mut Canvas, map: &HeatMap) {
    let small_grey = TextFormat::new(SMALL).color(GREY);
    canvas.text(&map.subtitle, (LEFT, 46.0), small_grey);
    let longest = map.x_labels.iter().map(|label| width(label)).fold(0.0, f64::max);
    let (right, bottom) = (
        f64::from(canvas.size.0) - RIGHT,
        f64::from(canvas.size.1) - longest.min(LABEL_WIDTH) - 18.0,
    );
    let (columns, rows) = (map.x_labels.len().max(1) as f64, map.rows.len().max(1) as f64);
    let (cell_width, cell_height) = ((right - LEFT) / columns, (bottom - TOP) / rows);

    for (i, (name, values)) in map.rows.iter().enumerate() {
        let top = TOP + i as f64 * cell_height;
        let mut x = LEFT;
        for cells in values.chunk_by(|&a, &b| shade(a) == shade(b)) {
            let end = x + cells.len() as f64 * cell_width;
            canvas.rectangle((x, top), (end, top + cell_height), color(shade(cells[0])));
            x = end;
        }
        // Skip names that would overlap.
        if i % (13.0 / cell_height).ceil().max(1.0) as usize == 0 {
            let format = TextFormat::new(SMALL * 0.9).color(GREY).anchor(Anchor::Right);
            canvas.text(name, (LEFT - 6.0, top + cell_height / 2.0), format);
        }
    }
    let label_step = (13.0 / cell_width).ceil().max(1.0) as usize;
    for (i, label) in map.x_labels.iter().enumerate().step_by(label_step) {
        let x = LEFT + (i as f64 + 0.5) * cell_width;
        let format = TextFormat::new(SMALL).anchor(Anchor::Right).rotated();
        canvas.text(shortened(label, LABEL_WIDTH, false), (x, bottom + 6.0), format);
    }

    let (x, height) = (right + 18.0, (bottom - TOP).min(200.0));
    let step = height / SHADES as f64;
    for i in 0..SHADES {
        let top = TOP + i as f64 * step;
        canvas.rectangle((x, top), (x + 14.0, top + step), color(SHADES - 1 - i));
    }
    let [low, high] = map.ends;
    canvas.text(format!("1 {high}"), (x + 20.0, TOP + 6.0), small_grey);
    canvas.text(format!("0 {low}"), (x + 20.0, TOP + height - 6.0), small_grey);
}

fn shade(value: f64) -> usize {
    (value.clamp(0.0, 1.0) * (SHADES - 1) as f64).round() as usize
}

fn color(shade: usize) -> Color {
    let value = 2.0 * shade as f64 / (SHADES - 1) as f64;
    let (from, to, fraction) = match value {
        v if v < 1.0 => (COLORS[0], COLORS[1], v),
        v => (COLORS[1], COLORS[2], v - 1.0),
    };
    let mix = |i: usize| (from[i] + (to[i] - from[i]) * fraction).round() as u8;
    Color(u32::from_be_bytes([0, mix(0), mix(1), mix(2)]))
}
