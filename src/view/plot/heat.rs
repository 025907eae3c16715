//! A heat map: words from left to right, units from top to bottom.

use plotters::prelude::DrawingBackend;
use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::canvas::{Canvas, Drawn, GREY, Type};
use super::font::{Weight, width};
use super::style::{PAGE, SMALL};

/// Shades that are told apart; neighbors of one shade become one rectangle.
const SHADES: usize = 24;

const LEFT: f64 = 72.0;
const TOP: f64 = 66.0;
const RIGHT: f64 = 96.0;
/// Longest word that is written out, in pixels.
const LONGEST: f64 = 110.0;

/// The colors of 0, 1/2 and 1: dark to light to be read in print as well.
const SCALE: [(f64, f64, f64); 3] =
    [(13.0, 44.0, 84.0), (42.0, 138.0, 160.0), (250.0, 236.0, 170.0)];

/// Values from 0 to 1 over words and units.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeatMap {
    pub title: String,
    pub subtitle: String,
    pub x_labels: Vec<String>,
    /// One row a unit, with its name; one value a word.
    pub rows: Vec<(String, Vec<f64>)>,
    /// What 0 and 1 mean.
    pub ends: [&'static str; 2],
}

impl HeatMap {
    /// All that is written in it, but for numbers.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.x_labels.iter().chain([&self.title, &self.subtitle]).map(String::as_str)
    }
}

/// Draws the whole picture.
pub(super) fn map<B: DrawingBackend>(canvas: &Canvas<'_, B>, map: &HeatMap) -> Drawn {
    canvas.blank()?;
    canvas.text(&map.title, (LEFT, 24.0), Type::new(17.0).bold())?;
    canvas.text(&map.subtitle, (LEFT, 46.0), Type::new(SMALL).color(GREY))?;
    let longest = map.x_labels.iter().map(|label| width(label, Weight::Regular, SMALL));
    let labels = longest.fold(0.0, f64::max).min(LONGEST);
    let (page_width, page_height) = (f64::from(PAGE.0), f64::from(PAGE.1));
    let (right, bottom) = (page_width - RIGHT, page_height - labels - 18.0);
    let (columns, rows) = (map.x_labels.len().max(1) as f64, map.rows.len().max(1) as f64);
    let (cell_width, cell_height) = ((right - LEFT) / columns, (bottom - TOP) / rows);

    for (i, (name, values)) in map.rows.iter().enumerate() {
        let top = TOP + i as f64 * cell_height;
        let mut start = 0;
        while start < values.len() {
            let shade = shade(values[start]);
            let same = values[start..].iter().take_while(|&&v| self::shade(v) == shade).count();
            let (from, to) = (start as f64, (start + same) as f64);
            let corner = (LEFT + from * cell_width, top);
            let opposite = (LEFT + to * cell_width, top + cell_height);
            canvas.rectangle(corner, opposite, color(shade as f64 / (SHADES - 1) as f64))?;
            start += same;
        }
        // As many names as there is room for.
        if i % (13.0 / cell_height).ceil().max(1.0) as usize == 0 {
            let look = Type::new(SMALL * 0.9).color(GREY).anchor(HPos::Right);
            canvas.text(name, (LEFT - 6.0, top + cell_height / 2.0), look)?;
        }
    }
    let every = (13.0 / cell_width).ceil().max(1.0) as usize;
    for (i, label) in map.x_labels.iter().enumerate().step_by(every) {
        let x = LEFT + (i as f64 + 0.5) * cell_width;
        let look = Type::new(SMALL).anchor(HPos::Right).upwards();
        canvas.text(&shortened(label), (x, bottom + 6.0), look)?;
    }
    legend(canvas, map, right + 18.0, bottom)
}

fn legend<B: DrawingBackend>(canvas: &Canvas<'_, B>, map: &HeatMap, x: f64, bottom: f64) -> Drawn {
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
        canvas.text(&format!("{value} {meaning}"), (x + 20.0, y), Type::new(SMALL).color(GREY))
    })
}

fn shade(value: f64) -> usize {
    (value.clamp(0.0, 1.0) * (SHADES - 1) as f64).round() as usize
}

fn color(value: f64) -> RGBColor {
    let (from, to, along) = match value {
        v if v < 0.5 => (SCALE[0], SCALE[1], 2.0 * v),
        v => (SCALE[1], SCALE[2], 2.0 * v - 1.0),
    };
    let mixed = |a: f64, b: f64| (a + (b - a) * along).round() as u8;
    RGBColor(mixed(from.0, to.0), mixed(from.1, to.1), mixed(from.2, to.2))
}

fn shortened(label: &str) -> String {
    if width(label, Weight::Regular, SMALL) <= LONGEST {
        return label.into();
    }
    let mut short: String = label.into();
    while width(&format!("{short}…"), Weight::Regular, SMALL) > LONGEST && short.pop().is_some() {
    }
    short + "…"
}
