//! The x axis of a panel.

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, INK, TextFormat};
use super::chart::Panel;
use super::font::{SMALL, width};
use super::labels::Area;

/// The x axis of a panel, which its strip may share.
pub(super) fn x_axis(panel: &Panel, plot: &Area) -> Axis {
    let values = panel.drawn().map(|point| point.x);
    if panel.log_x {
        let shared = panel.strip.iter().flat_map(|strip| strip.shared_with(panel));
        let values: Vec<f64> = values.chain(shared).collect();
        return Axis::log(values.into_iter(), plot.left, plot.right);
    }
    let axis = Axis::linear(values, plot.left, plot.right);
    if panel.integer_x { axis.integer_ticks() } else { axis }
}

/// The lower edge of a plot, with ticks.
pub(super) fn draw_x_axis(canvas: &mut Canvas, x: &Axis, plot: &Area) {
    canvas.line([(plot.left, plot.bottom), (plot.right, plot.bottom)], 1.0, INK);
    let mut min_left = f64::NEG_INFINITY;
    for (value, text) in x.ticks() {
        let at = x.position(value);
        canvas.line([(at, plot.bottom), (at, plot.bottom + 4.0)], 1.0, INK);
        let half = width(&text) / 2.0;
        if at - half >= min_left {
            let centered = TextFormat::new(SMALL).anchor(Anchor::Center);
            canvas.text(text, (at, plot.bottom + 13.0), centered);
            min_left = at + half + 8.0;
        }
    }
}
