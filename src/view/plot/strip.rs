//! A strip below a panel: values without a height, on an x axis of their own, or on that of the panel where the two
//! meet.

use super::axis::Axis;
use super::canvas::{Canvas, GREY, MARKER, TextFormat};
use super::chart::{Panel, Strip};
use super::font::{SMALL, width};
use super::labels::{Area, Label, place_labels};
use super::x_axis::{draw_x_axis, x_axis};

/// Height of a strip with its title and its axis.
pub(super) const HEIGHT: f64 = 98.0;

/// Height of the title, and of the ticks.
const TITLE: f64 = 22.0;
const TICKS: f64 = 22.0;

/// Distance of the markers from the axis.
const ABOVE_AXIS: f64 = 12.0;

/// Draws the strip of a panel.
pub(super) fn draw(canvas: &mut Canvas, strip: &Strip, panel: &Panel, area: &Area) {
    let values: Vec<f64> = strip.marks.iter().map(|(value, _)| *value).collect();
    let x = match strip.shared_with(panel).is_empty() {
        true => Axis::log(values.iter().copied(), area.left, area.right),
        false => x_axis(panel, area),
    };
    let title_at = (area.left, area.top + 10.0);
    canvas.text(&strip.title, title_at, TextFormat::new(SMALL).color(GREY));
    let plot = Area { top: area.top + TITLE, bottom: area.bottom - TICKS, ..*area };
    draw_x_axis(canvas, &x, &plot);
    let level = plot.bottom - ABOVE_AXIS;
    let points: Vec<(f64, f64)> = values.iter().map(|&value| (x.position(value), level)).collect();
    for &point in &points {
        canvas.dot(point, MARKER, GREY);
    }
    let mut occupied: Vec<Area> =
        points.iter().map(|&(x, y)| Area::around(x, y, MARKER + 2.0, MARKER + 2.0)).collect();
    occupied.push(Area { top: plot.bottom - 2.0, bottom: area.bottom, ..plot });
    let labeled =
        strip.marks.iter().zip(points).filter_map(|((_, label), at)| Some((label.as_deref()?, at)));
    let (texts, labels): (Vec<&str>, Vec<Label>) =
        labeled.map(|(text, at)| (text, (at, width(text) * 1.1))).unzip();
    for (text, area) in texts.into_iter().zip(place_labels(&labels, &occupied, &plot)) {
        if let Some(area) = area {
            let format = TextFormat::new(SMALL).anchor(super::canvas::Anchor::Center);
            canvas.text(text, area.center(), format);
        }
    }
}
