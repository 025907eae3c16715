//! Lays out a plot on a page and draws it.

use super::axis::{Axis, range};
use super::canvas::{Anchor, Canvas, GREY, GRID, MARKER, TextFormat, Xy, color};
use super::chart::{Content, Panel, Plot, PlotPoint, Reference, Series};
use super::font::{SMALL, width};
use super::labels::{Area, Label, place_labels};
use super::x_axis::{draw_x_axis, x_axis};
use super::{header, heat, strip};

const MARGIN: f64 = 16.0;
/// Minimum width of the y axis with its label and ticks.
const Y_AXIS: f64 = 56.0;
/// Width of the y label and the space around the ticks.
const Y_LABEL: f64 = 28.0;
const X_AXIS: f64 = 44.0;
const BETWEEN_PANELS: f64 = 22.0;

const PLOT_TITLE: f64 = 17.0;
const BODY: f64 = 12.0;
/// Line width of a series.
const CURVE: f64 = 1.6;
/// Half the width of the ends of an error bar.
const ERROR_CAP: f64 = 3.0;

/// Length of a part of a line that labels avoid.
const LINE_PART: f64 = 4.0;

/// Maximum distance of a reference line from the data, in spans of the data; a farther one would flatten it.
const MAX_REFERENCE_DISTANCE: f64 = 2.5;

/// Number of columns into which long curves are divided.
const CURVE_COLUMNS: usize = 800;

/// Draws a plot on a page.
pub(super) fn draw(plot: &Plot) -> Canvas {
    let mut canvas = Canvas::new(plot.page);
    let (page_width, page_height) = (f64::from(plot.page.0), f64::from(plot.page.1));
    let panels: &[Panel] = match &plot.content {
        Content::Panels(panels) => panels,
        Content::Map(_) => &[],
    };
    let left = panels.iter().map(y_axis_width).fold(Y_AXIS, f64::max);
    let title_at = (MARGIN + left, MARGIN + 8.0);
    if let Some(progress) = plot.progress {
        // Above a progress bar, the title is a changing status line.
        canvas.text(&plot.title, title_at, TextFormat::new(BODY));
        let (left, right, top) = (title_at.0, page_width - MARGIN, MARGIN + 19.0);
        let end = left + (right - left) * progress.clamp(0.0, 1.0);
        canvas.rectangle((left, top), (right, top + 4.0), GRID);
        canvas.rectangle((left, top), (end, top + 4.0), color(0));
    } else {
        canvas.text(&plot.title, title_at, TextFormat::new(PLOT_TITLE).bold());
    }
    if let Content::Map(map) = &plot.content {
        heat::draw(&mut canvas, map);
    }

    let n = panels.len().max(1) as f64;
    let panel_width = (page_width - 2.0 * MARGIN - (n - 1.0) * BETWEEN_PANELS) / n;
    let header = panels.iter().map(|panel| header::height(panel, panel_width - left));
    let header = header.fold(0.0, f64::max);
    for (i, panel) in panels.iter().enumerate() {
        let start = MARGIN + i as f64 * (panel_width + BETWEEN_PANELS);
        let (top, bottom) = (MARGIN + 30.0, page_height - 8.0);
        let frame = Area { left: start, top, right: start + panel_width, bottom };
        draw_panel(&mut canvas, panel, frame, (left, header));
    }
    canvas
}

fn draw_panel(canvas: &mut Canvas, panel: &Panel, frame: Area, (left, header): (f64, f64)) {
    let plot = Area {
        left: frame.left + left,
        top: frame.top + header,
        right: frame.right,
        bottom: frame.bottom - X_AXIS - panel.strip.as_ref().map_or(0.0, |_| strip::HEIGHT),
    };
    header::draw(canvas, panel, frame.top, &plot);
    if let Some(strip) = &panel.strip {
        let area = Area { top: plot.bottom + X_AXIS, bottom: frame.bottom, ..plot };
        strip::draw(canvas, strip, panel, &area);
    }
    if panel.drawn().next().is_none() {
        let format = TextFormat::new(BODY).color(GREY).anchor(Anchor::Center);
        return canvas.text(panel.empty_reason(), plot.center(), format);
    }

    let x = x_axis(panel, &plot);
    let axes = Axes { x, y: y_axis(panel, plot.bottom, plot.top), plot };
    draw_axes(canvas, panel, frame.left, &axes);

    let has_markers = panel.series.iter().any(|series| series.markers);
    let points = panel.drawn().filter(|_| has_markers);
    let around = |(x, y)| Area::around(x, y, MARKER + 2.0, MARKER + 2.0);
    let markers: Vec<Area> = points.map(|point| around(axes.at(point))).collect();
    let reference = draw_reference(canvas, panel, &axes, &markers);
    for (i, series) in panel.series.iter().enumerate() {
        draw_series(canvas, series, i, &axes);
    }
    let bars: Vec<Area> = panel.drawn().filter_map(|point| area_of_bar(point, &axes)).collect();
    let lines = areas_of_lines(panel, &axes);
    draw_point_labels(canvas, panel, &axes, &[markers, bars, reference, lines].concat());
}

/// The axes of a panel and the area between them.
struct Axes {
    x: Axis,
    y: Axis,
    plot: Area,
}

impl Axes {
    fn at(&self, point: &PlotPoint) -> Xy {
        (self.x.position(point.x), self.y.position(point.y))
    }

    /// Where the error bar of a point begins and ends on the page, if it has one.
    fn error_bar(&self, point: &PlotPoint) -> Option<[f64; 2]> {
        let ends = [point.y + point.error, point.y - point.error];
        (point.error > 0.0).then(|| ends.map(|y| self.y.position(y)))
    }
}

fn y_axis(panel: &Panel, bottom: f64, top: f64) -> Axis {
    let heights = panel.drawn().flat_map(|point| [point.y - point.error, point.y + point.error]);
    let heights: Vec<f64> = heights.chain(reference_on_axis(panel)).collect();
    if panel.log_y {
        Axis::auto_log(heights.into_iter(), bottom, top)
    } else {
        Axis::linear(heights.into_iter(), bottom, top)
    }
}

/// Width of the y axis of a panel with its label and ticks.
fn y_axis_width(panel: &Panel) -> f64 {
    let ticks = y_axis(panel, 1.0, 0.0).ticks();
    let widths = ticks.iter().map(|(_, text)| width(text));
    // The viewer's sans-serif font may be wider than the built-in font.
    widths.fold(0.0, f64::max) * 1.1 + Y_LABEL
}

fn draw_axes(canvas: &mut Canvas, panel: &Panel, left: f64, Axes { x, y, plot }: &Axes) {
    for (value, text) in y.ticks() {
        let at = y.position(value);
        canvas.line([(plot.left, at), (plot.right, at)], 1.0, GRID);
        canvas.text(text, (plot.left - 8.0, at), TextFormat::new(SMALL).anchor(Anchor::Right));
    }
    draw_x_axis(canvas, x, plot);
    let (middle, label) = (plot.center(), TextFormat::new(BODY).anchor(Anchor::Center));
    canvas.text(&panel.x_label, (middle.0, plot.bottom + 33.0), label);
    canvas.text(&panel.y_label, (left + 8.0, middle.1), label.rotated());
}

/// The reference value, if it is close enough to the data to extend the axis to it.
fn reference_on_axis(panel: &Panel) -> Option<f64> {
    let value = panel.reference.as_ref()?.value;
    let (low, high) = range(panel.drawn().map(|point| point.y));
    let span = (high - low).max(high.abs() * 0.05);
    let distance = (low - value).max(value - high);
    (distance <= MAX_REFERENCE_DISTANCE * span).then_some(value)
}

/// Draws the reference line, or a label that says in which direction it lies. Returns the areas that it
/// covers.
fn draw_reference(
    canvas: &mut Canvas,
    panel: &Panel,
    Axes { y, plot, .. }: &Axes,
    markers: &[Area],
) -> Vec<Area> {
    let Some(Reference { value, label }) = &panel.reference else { return vec![] };
    let (level, mut covered) = (y.position(*value), vec![]);
    let (text, heights) = if reference_on_axis(panel).is_some() {
        canvas.dashed_line([(plot.left, level), (plot.right, level)], 1.3, GREY);
        covered.push(Area { top: level - 1.0, bottom: level + 1.0, ..*plot });
        (label.clone(), vec![level - 9.0, level + 10.0])
    } else if *value < y.low {
        (format!("{label} (below this axis)"), vec![plot.bottom - 10.0])
    } else {
        (format!("{label} (above this axis)"), vec![plot.top + 10.0])
    };
    let half = width(&text) * 0.55;
    let centers =
        heights.iter().flat_map(|&y| [(plot.right - half, y), (plot.left + half + 4.0, y)]);
    let areas: Vec<_> = centers.map(|(x, y)| Area::around(x, y, half, 8.0)).collect();
    let area = areas.iter().find(|area| area.is_free_of(markers)).unwrap_or(&areas[0]);
    let format = TextFormat::new(SMALL).color(GREY).anchor(Anchor::Center);
    canvas.text(text, area.center(), format);
    covered.push(*area);
    covered
}

fn draw_series(canvas: &mut Canvas, series: &Series, i: usize, axes: &Axes) {
    for segment in series.segments().filter(|_| series.line) {
        match segment {
            // A line with a single point is invisible.
            [point] => canvas.marker(i, axes.at(point), CURVE),
            _ => {
                let points: Vec<_> = segment.iter().map(|point| axes.at(point)).collect();
                canvas.line(thinned(&points), CURVE, color(i));
            }
        }
    }
    for point in series.drawn() {
        let at = axes.at(point);
        if let Some([top, bottom]) = axes.error_bar(point) {
            canvas.line([(at.0, top), (at.0, bottom)], 1.2, color(i));
            for end in [top, bottom] {
                let cap = [(at.0 - ERROR_CAP, end), (at.0 + ERROR_CAP, end)];
                canvas.line(cap, 1.2, color(i));
            }
        }
        if series.markers {
            canvas.marker(i, at, MARKER);
        }
    }
}

/// Reduces a long curve to the minimum and maximum of each column.
fn thinned(points: &[Xy]) -> Vec<Xy> {
    if points.len() <= 2 * CURVE_COLUMNS {
        return points.to_vec();
    }
    let columns = points.chunks(points.len().div_ceil(CURVE_COLUMNS));
    let extremes = columns.flat_map(|column| {
        let by_height = |a: &&Xy, b: &&Xy| a.1.total_cmp(&b.1);
        let low = column.iter().min_by(by_height);
        let high = column.iter().max_by(by_height);
        let mut extremes: Vec<Xy> = low.into_iter().chain(high).copied().collect();
        extremes.sort_by(|a, b| a.0.total_cmp(&b.0));
        extremes.dedup();
        extremes
    });
    extremes.collect()
}

fn area_of_bar(point: &PlotPoint, axes: &Axes) -> Option<Area> {
    let [top, bottom] = axes.error_bar(point)?;
    let x = axes.at(point).0;
    Some(Area { left: x - ERROR_CAP - 1.0, top, right: x + ERROR_CAP + 1.0, bottom })
}

/// Small areas along the lines between markers, whose labels must not lie on the lines.
fn areas_of_lines(panel: &Panel, axes: &Axes) -> Vec<Area> {
    let connected = panel.series.iter().filter(|series| series.line && series.markers);
    let pairs = connected.flat_map(Series::segments).flat_map(|segment| segment.windows(2));
    let areas = pairs.flat_map(|pair| {
        let [(x, y), (end_x, end_y)] = [axes.at(&pair[0]), axes.at(&pair[1])];
        let parts = ((end_x - x).hypot(end_y - y) / LINE_PART).ceil().max(1.0);
        (0..=parts as usize).map(move |i| {
            let share = i as f64 / parts;
            Area::around(x + share * (end_x - x), y + share * (end_y - y), 1.0, 1.0)
        })
    });
    areas.collect()
}

fn draw_point_labels(canvas: &mut Canvas, panel: &Panel, axes: &Axes, occupied: &[Area]) {
    let labeled = panel.drawn().filter_map(|point| Some((point, point.label.as_deref()?)));
    // The viewer's sans-serif font may be wider than the built-in font.
    let (texts, labels): (Vec<&str>, Vec<Label>) =
        labeled.map(|(point, text)| (text, (axes.at(point), width(text) * 1.1))).unzip();
    for (text, area) in texts.into_iter().zip(place_labels(&labels, occupied, &axes.plot)) {
        if let Some(area) = area {
            canvas.text(text, area.center(), TextFormat::new(SMALL).anchor(Anchor::Center));
        }
    }
}
