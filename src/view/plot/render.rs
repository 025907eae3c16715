//! Lays out a figure on a page and draws it.

use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::HPos;

use super::axis::Axis;
use super::canvas::{Canvas, DrawResult, GREY, GRID, INK, TextFormat, color};
use super::chart::{Empty, Figure, Panel, Series};
use super::font::{Weight, width};
use super::header;
use super::labels::{Area, Label, place_labels};
use super::style::{MARKER, SMALL};

const MARGIN: f64 = 16.0;
/// Minimum width of the y axis with its label and ticks.
const Y_AXIS: f64 = 56.0;
/// Width of the y label and the space around the ticks.
const Y_LABEL: f64 = 28.0;
const X_AXIS: f64 = 44.0;
const BETWEEN_PANELS: f64 = 22.0;

const FIGURE_TITLE: f64 = 17.0;
const BODY: f64 = 12.0;
/// Line width of a series.
const CURVE: f64 = 1.6;

/// Maximum distance of a reference line from the data, in spans of the data; a farther one would flatten it.
const MAX_REFERENCE_DISTANCE: f64 = 2.5;

/// Number of columns into which long curves are divided.
const CURVE_COLUMNS: usize = 800;

/// Draws a figure on a whole page.
pub(super) fn draw<B: DrawingBackend>(canvas: &Canvas<'_, B>, figure: &Figure) -> DrawResult {
    canvas.clear()?;
    let (page_width, page_height) = (f64::from(figure.page.0), f64::from(figure.page.1));
    let left = figure.panels.iter().map(y_axis_width).fold(Y_AXIS, f64::max);
    let title_at = (MARGIN + left, MARGIN + 8.0);
    // Above a progress bar, the title is a changing status line.
    let title = match figure.progress {
        Some(_) => TextFormat::new(BODY),
        None => TextFormat::new(FIGURE_TITLE).bold(),
    };
    canvas.text(&figure.title, title_at, title)?;
    if let Some(progress) = figure.progress {
        let (left, right, top) = (title_at.0, page_width - MARGIN, MARGIN + 19.0);
        let end = left + (right - left) * progress.clamp(0.0, 1.0);
        canvas.rectangle((left, top), (right, top + 4.0), GRID)?;
        canvas.rectangle((left, top), (end, top + 4.0), color(0))?;
    }

    let n = figure.panels.len().max(1) as f64;
    let panel_width = (page_width - 2.0 * MARGIN - (n - 1.0) * BETWEEN_PANELS) / n;
    let header = figure.panels.iter().map(|panel| header::height(panel, panel_width - left));
    let header = header.fold(0.0, f64::max);
    for (i, panel) in figure.panels.iter().enumerate() {
        let start = MARGIN + i as f64 * (panel_width + BETWEEN_PANELS);
        let (top, bottom) = (MARGIN + 30.0, page_height - 8.0);
        let frame = Area { left: start, top, right: start + panel_width, bottom };
        draw_panel(canvas, panel, frame, (left, header))?;
    }
    Ok(())
}

fn draw_panel<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    panel: &Panel,
    frame: Area,
    (left, header): (f64, f64),
) -> DrawResult {
    let plot = Area {
        left: frame.left + left,
        top: frame.top + header,
        right: frame.right,
        bottom: frame.bottom - X_AXIS,
    };
    header::draw(canvas, panel, frame.top, &plot)?;
    let points = || panel.series.iter().flat_map(|series| &series.points);
    if points().next().is_none() {
        let middle = ((plot.left + plot.right) / 2.0, (plot.top + plot.bottom) / 2.0);
        let format = TextFormat::new(BODY).color(GREY).anchor(HPos::Center);
        let text = match panel.empty_reason {
            Empty::Unmeasured => "nothing measured yet",
            Empty::NotANumber => "nothing to draw: not measured to the end, or NaN",
            Empty::OffScale => "every value is infinite or NaN: nothing to draw",
        };
        return canvas.text(text, middle, format);
    }

    let x = Axis::linear(points().map(|point| point.x), plot.left, plot.right);
    let x = if panel.integer_x { x.integer_ticks() } else { x };
    let y = y_axis(panel, plot.bottom, plot.top);
    draw_axes(canvas, panel, &plot, frame.left, (&x, &y))?;

    let markers: Vec<Area> = points()
        .filter(|_| panel.series.iter().any(|series| series.markers))
        .map(|point| {
            Area::around(x.position(point.x), y.position(point.y), MARKER + 2.0, MARKER + 2.0)
        })
        .collect();
    let mut obstacles = markers.clone();
    obstacles.extend(draw_reference(canvas, panel, &plot, &y, &markers)?);
    for (i, series) in panel.series.iter().enumerate() {
        draw_series(canvas, series, i, (&x, &y))?;
    }
    draw_point_labels(canvas, panel, &plot, (&x, &y), &obstacles)
}

fn y_axis(panel: &Panel, bottom: f64, top: f64) -> Axis {
    let heights = panel.series.iter().flat_map(|series| {
        let t = series.tolerance;
        series.points.iter().flat_map(move |point| [point.y - t, point.y + t])
    });
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
    let widths = ticks.iter().map(|(_, text)| width(text, Weight::Regular, SMALL));
    // The viewer's sans-serif font may be wider than the built-in font.
    widths.fold(0.0, f64::max) * 1.1 + Y_LABEL
}

fn draw_axes<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    panel: &Panel,
    plot: &Area,
    left: f64,
    (x, y): (&Axis, &Axis),
) -> DrawResult {
    for (value, text) in y.ticks() {
        let at = y.position(value);
        canvas.line([(plot.left, at), (plot.right, at)], 1.0, GRID)?;
        let format = TextFormat::new(SMALL).anchor(HPos::Right);
        canvas.text(&text, (plot.left - 8.0, at), format)?;
    }
    canvas.line([(plot.left, plot.bottom), (plot.right, plot.bottom)], 1.0, INK)?;
    let centered = TextFormat::new(SMALL).anchor(HPos::Center);
    let mut min_left = f64::NEG_INFINITY;
    for (value, text) in x.ticks() {
        let at = x.position(value);
        canvas.line([(at, plot.bottom), (at, plot.bottom + 4.0)], 1.0, INK)?;
        let half = width(&text, Weight::Regular, SMALL) / 2.0;
        if at - half >= min_left {
            canvas.text(&text, (at, plot.bottom + 13.0), centered)?;
            min_left = at + half + 8.0;
        }
    }
    let middle = ((plot.left + plot.right) / 2.0, (plot.top + plot.bottom) / 2.0);
    let label_format = TextFormat::new(BODY).anchor(HPos::Center);
    canvas.text(&panel.x_label, (middle.0, plot.bottom + 33.0), label_format)?;
    canvas.text(&panel.y_label, (left + 8.0, middle.1), label_format.rotated())
}

/// The reference value, if it is close enough to the data to extend the axis to it.
fn reference_on_axis(panel: &Panel) -> Option<f64> {
    let value = panel.reference.as_ref()?.value;
    let points = panel.series.iter().flat_map(|series| &series.points);
    let (low, high) = points.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| {
        (low.min(point.y), high.max(point.y))
    });
    let span = (high - low).max(high.abs() * 0.05);
    let distance = (low - value).max(value - high);
    (distance <= MAX_REFERENCE_DISTANCE * span).then_some(value)
}

/// Draws the reference line, or a label that says in which direction it lies. Returns the areas that it
/// covers.
fn draw_reference<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    panel: &Panel,
    plot: &Area,
    y: &Axis,
    markers: &[Area],
) -> Result<Vec<Area>, String> {
    let Some(reference) = &panel.reference else { return Ok(vec![]) };
    let on_axis = reference_on_axis(panel).is_some();
    let text = if on_axis {
        reference.label.clone()
    } else if reference.value < y.low {
        format!("{} (below this axis)", reference.label)
    } else {
        format!("{} (above this axis)", reference.label)
    };
    let half = width(&text, Weight::Regular, SMALL) * 0.55;
    let (right, left) = (plot.right - half, plot.left + half + 4.0);
    let level = y.position(reference.value);
    let centers: Vec<(f64, f64)> = if on_axis {
        vec![(right, level - 9.0), (left, level - 9.0), (right, level + 10.0), (left, level + 10.0)]
    } else if reference.value < y.low {
        vec![(right, plot.bottom - 10.0), (left, plot.bottom - 10.0)]
    } else {
        vec![(right, plot.top + 10.0), (left, plot.top + 10.0)]
    };
    let label_area = |&(x, y): &(f64, f64)| Area::around(x, y, half, 8.0);
    let free = centers.iter().map(label_area).find(|area| area.is_free_of(markers));
    let label = free.unwrap_or_else(|| label_area(&centers[0]));
    let at = ((label.left + label.right) / 2.0, (label.top + label.bottom) / 2.0);
    let mut covered = vec![label];
    if on_axis {
        canvas.dashed_line(plot.left, plot.right, level, 1.3, GREY)?;
        covered.push(Area {
            left: plot.left,
            top: level - 1.0,
            right: plot.right,
            bottom: level + 1.0,
        });
    }
    canvas.text(&text, at, TextFormat::new(SMALL).color(GREY).anchor(HPos::Center))?;
    Ok(covered)
}

fn draw_series<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    series: &Series,
    i: usize,
    (x, y): (&Axis, &Axis),
) -> DrawResult {
    if series.line {
        for segment in series.segments() {
            let page: Vec<_> = segment.iter().map(|p| (x.position(p.x), y.position(p.y))).collect();
            match page[..] {
                // A line with a single point is invisible.
                [at] => canvas.marker(i, at, CURVE)?,
                _ => canvas.line(thinned(&page), CURVE, color(i))?,
            }
        }
    }
    for point in &series.points {
        let (at, t) = (x.position(point.x), series.tolerance);
        if t > 0.0 {
            let (top, bottom) = (y.position(point.y + t), y.position(point.y - t));
            canvas.line([(at, top), (at, bottom)], 1.2, color(i))?;
            for end in [top, bottom] {
                canvas.line([(at - 3.0, end), (at + 3.0, end)], 1.2, color(i))?;
            }
        }
    }
    if series.markers {
        for point in &series.points {
            canvas.marker(i, (x.position(point.x), y.position(point.y)), MARKER)?;
        }
    }
    Ok(())
}

/// Reduces a long curve to the minimum and maximum of each column.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= 2 * CURVE_COLUMNS {
        return points.to_vec();
    }
    let mut extremes = Vec::with_capacity(2 * CURVE_COLUMNS + 2);
    for column in points.chunks(points.len().div_ceil(CURVE_COLUMNS)) {
        let by_height = |a: &usize, b: &usize| column[*a].1.total_cmp(&column[*b].1);
        let low = (0..column.len()).min_by(by_height).unwrap_or(0);
        let high = (0..column.len()).max_by(by_height).unwrap_or(0);
        extremes.push(column[low.min(high)]);
        if low != high {
            extremes.push(column[low.max(high)]);
        }
    }
    extremes
}

fn draw_point_labels<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    panel: &Panel,
    plot: &Area,
    (x, y): (&Axis, &Axis),
    obstacles: &[Area],
) -> DrawResult {
    let points = panel.series.iter().flat_map(|series| &series.points);
    let labeled: Vec<_> =
        points.filter_map(|point| Some((point, point.label.as_deref()?))).collect();
    let labels: Vec<_> = labeled
        .iter()
        .map(|(point, label)| Label {
            x: x.position(point.x),
            y: y.position(point.y),
            // The viewer's sans-serif font may be wider than the built-in font.
            width: width(label, Weight::Regular, SMALL) * 1.1,
            height: 14.0,
        })
        .collect();
    for ((_, label), at) in labeled.iter().zip(place_labels(&labels, obstacles, plot)) {
        if let Some(at) = at {
            canvas.text(label, at, TextFormat::new(SMALL).anchor(HPos::Center))?;
        }
    }
    Ok(())
}
