//! Lays a figure out on a page and draws it.

use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::HPos;

use super::axis::Axis;
use super::canvas::{Canvas, Drawn, GREY, GRID, INK, Type, color};
use super::chart::{Empty, Figure, Panel, Series};
use super::font::{Weight, width};
use super::header;
use super::labels::{Area, Wanted, arrange};
use super::style::{MARKER, SMALL};

const MARGIN: f64 = 16.0;
/// Left of a panel's plot, at least: its label and its ticks.
const Y_AXIS: f64 = 56.0;
/// What the ticks leave of it to the label, and to the space on either side of them.
const Y_LABEL: f64 = 28.0;
const X_AXIS: f64 = 44.0;
const BETWEEN_PANELS: f64 = 22.0;

const FIGURE_TITLE: f64 = 17.0;
const BODY: f64 = 12.0;
/// Width of a series' line.
const CURVE: f64 = 1.6;

/// A reference farther from the data than so many of its spans would flatten the data.
const REFERENCE_REACH: f64 = 2.5;

/// Points of a curve that the page can tell apart.
const CURVE_COLUMNS: usize = 800;

/// Draws the whole figure.
pub(super) fn figure<B: DrawingBackend>(canvas: &Canvas<'_, B>, figure: &Figure) -> Drawn {
    canvas.blank()?;
    let (page_width, page_height) = (f64::from(figure.page.0), f64::from(figure.page.1));
    let left = figure.panels.iter().map(y_axis_width).fold(Y_AXIS, f64::max);
    let title_at = (MARGIN + left, MARGIN + 8.0);
    // What stands above a bar changes all the time and is no title to be remembered.
    let title = match figure.done {
        Some(_) => Type::new(BODY),
        None => Type::new(FIGURE_TITLE).bold(),
    };
    canvas.text(&figure.title, title_at, title)?;
    if let Some(done) = figure.done {
        let (left, right, top) = (title_at.0, page_width - MARGIN, MARGIN + 19.0);
        let end = left + (right - left) * done.clamp(0.0, 1.0);
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
) -> Drawn {
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
        let look = Type::new(BODY).color(GREY).anchor(HPos::Center);
        let text = match panel.empty {
            Empty::Unmeasured => "nothing measured yet",
            Empty::NoNumber => "nothing to draw: not measured to the end, or NaN",
            Empty::OffScale => "every value is infinite or NaN: none has a place on an axis",
        };
        return canvas.text(text, middle, look);
    }

    let x = Axis::over(points().map(|point| point.x), plot.left, plot.right);
    let x = if panel.counts { x.whole() } else { x };
    let y = y_axis(panel, plot.bottom, plot.top);
    draw_axes(canvas, panel, &plot, frame.left, (&x, &y))?;

    let spots: Vec<Area> = points()
        .filter(|_| panel.series.iter().any(|series| series.markers))
        .map(|point| Area::around(x.place(point.x), y.place(point.y), MARKER + 2.0, MARKER + 2.0))
        .collect();
    let mut obstacles = spots.clone();
    obstacles.extend(draw_reference(canvas, panel, &plot, &y, &spots)?);
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
    let heights: Vec<f64> = heights.chain(near_reference(panel)).collect();
    match panel.powers {
        true => Axis::over_powers(heights.into_iter(), bottom, top),
        false => Axis::over(heights.into_iter(), bottom, top),
    }
}

/// What stands left of a panel's plot takes so much room.
fn y_axis_width(panel: &Panel) -> f64 {
    let ticks = y_axis(panel, 1.0, 0.0).ticks();
    let widths = ticks.iter().map(|(_, text)| width(text, Weight::Regular, SMALL));
    // A reader's own sans-serif may run wider than the built-in face.
    widths.fold(0.0, f64::max) * 1.1 + Y_LABEL
}

fn draw_axes<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    panel: &Panel,
    plot: &Area,
    left: f64,
    (x, y): (&Axis, &Axis),
) -> Drawn {
    for (value, text) in y.ticks() {
        let at = y.place(value);
        canvas.line([(plot.left, at), (plot.right, at)], 1.0, GRID)?;
        let look = Type::new(SMALL).anchor(HPos::Right);
        canvas.text(&text, (plot.left - 8.0, at), look)?;
    }
    canvas.line([(plot.left, plot.bottom), (plot.right, plot.bottom)], 1.0, INK)?;
    let centered = Type::new(SMALL).anchor(HPos::Center);
    let mut free_from = f64::NEG_INFINITY;
    for (value, text) in x.ticks() {
        let at = x.place(value);
        canvas.line([(at, plot.bottom), (at, plot.bottom + 4.0)], 1.0, INK)?;
        let half = width(&text, Weight::Regular, SMALL) / 2.0;
        if at - half >= free_from {
            canvas.text(&text, (at, plot.bottom + 13.0), centered)?;
            free_from = at + half + 8.0;
        }
    }
    let middle = ((plot.left + plot.right) / 2.0, (plot.top + plot.bottom) / 2.0);
    let named = Type::new(BODY).anchor(HPos::Center);
    canvas.text(&panel.x_label, (middle.0, plot.bottom + 33.0), named)?;
    canvas.text(&panel.y_label, (left + 8.0, middle.1), named.upwards())
}

/// The reference value, where it lies near enough to the data to share their axis.
fn near_reference(panel: &Panel) -> Option<f64> {
    let value = panel.reference.as_ref()?.value;
    let points = panel.series.iter().flat_map(|series| &series.points);
    let (low, high) = points.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| {
        (low.min(point.y), high.max(point.y))
    });
    let span = (high - low).max(high.abs() * 0.05);
    let distance = (low - value).max(value - high);
    (distance <= REFERENCE_REACH * span).then_some(value)
}

/// Draws the reference line, or says where it would lie, and gives the room that this takes.
fn draw_reference<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    panel: &Panel,
    plot: &Area,
    y: &Axis,
    spots: &[Area],
) -> Result<Vec<Area>, String> {
    let Some(reference) = &panel.reference else { return Ok(vec![]) };
    let on_axis = near_reference(panel).is_some();
    let text = match on_axis {
        true => reference.label.clone(),
        false if reference.value < y.low => format!("{} (below this axis)", reference.label),
        false => format!("{} (above this axis)", reference.label),
    };
    let half = width(&text, Weight::Regular, SMALL) * 0.55;
    let (right, left) = (plot.right - half, plot.left + half + 4.0);
    let level = y.place(reference.value);
    let places: Vec<(f64, f64)> = match on_axis {
        true => vec![
            (right, level - 9.0),
            (left, level - 9.0),
            (right, level + 10.0),
            (left, level + 10.0),
        ],
        false if reference.value < y.low => {
            vec![(right, plot.bottom - 10.0), (left, plot.bottom - 10.0)]
        }
        false => vec![(right, plot.top + 10.0), (left, plot.top + 10.0)],
    };
    let place = |&(x, y): &(f64, f64)| Area::around(x, y, half, 8.0);
    let free = places.iter().map(place).find(|area| area.is_free_of(spots));
    let label = free.unwrap_or_else(|| place(&places[0]));
    let at = ((label.left + label.right) / 2.0, (label.top + label.bottom) / 2.0);
    let mut taken = vec![label];
    if on_axis {
        canvas.dashes(plot.left, plot.right, level, 1.3, GREY)?;
        taken.push(Area {
            left: plot.left,
            top: level - 1.0,
            right: plot.right,
            bottom: level + 1.0,
        });
    }
    canvas.text(&text, at, Type::new(SMALL).color(GREY).anchor(HPos::Center))?;
    Ok(taken)
}

fn draw_series<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    series: &Series,
    i: usize,
    (x, y): (&Axis, &Axis),
) -> Drawn {
    if series.line {
        for piece in series.pieces() {
            let page: Vec<_> = piece.iter().map(|p| (x.place(p.x), y.place(p.y))).collect();
            match page[..] {
                // A line of one point would not be seen.
                [at] => canvas.marker(i, at, CURVE)?,
                _ => canvas.line(thinned(&page), CURVE, color(i))?,
            }
        }
    }
    for point in &series.points {
        let (at, t) = (x.place(point.x), series.tolerance);
        if t > 0.0 {
            let (top, bottom) = (y.place(point.y + t), y.place(point.y - t));
            canvas.line([(at, top), (at, bottom)], 1.2, color(i))?;
            for end in [top, bottom] {
                canvas.line([(at - 3.0, end), (at + 3.0, end)], 1.2, color(i))?;
            }
        }
    }
    if series.markers {
        for point in &series.points {
            canvas.marker(i, (x.place(point.x), y.place(point.y)), MARKER)?;
        }
    }
    Ok(())
}

/// A long curve's extremes in each column of the page; a short one as it is.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= 2 * CURVE_COLUMNS {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(2 * CURVE_COLUMNS + 2);
    for column in points.chunks(points.len().div_ceil(CURVE_COLUMNS)) {
        let by_height = |a: &usize, b: &usize| column[*a].1.total_cmp(&column[*b].1);
        let low = (0..column.len()).min_by(by_height).unwrap_or(0);
        let high = (0..column.len()).max_by(by_height).unwrap_or(0);
        kept.push(column[low.min(high)]);
        if low != high {
            kept.push(column[low.max(high)]);
        }
    }
    kept
}

fn draw_point_labels<B: DrawingBackend>(
    canvas: &Canvas<'_, B>,
    panel: &Panel,
    plot: &Area,
    (x, y): (&Axis, &Axis),
    obstacles: &[Area],
) -> Drawn {
    let points = panel.series.iter().flat_map(|series| &series.points);
    let labeled: Vec<_> =
        points.filter_map(|point| Some((point, point.label.as_deref()?))).collect();
    let wanted: Vec<_> = labeled
        .iter()
        .map(|(point, label)| Wanted {
            x: x.place(point.x),
            y: y.place(point.y),
            // A reader's own sans-serif may run wider than the built-in face.
            width: width(label, Weight::Regular, SMALL) * 1.1,
            height: 14.0,
        })
        .collect();
    for ((_, label), at) in labeled.iter().zip(arrange(&wanted, obstacles, plot)) {
        if let Some(at) = at {
            canvas.text(label, at, Type::new(SMALL).anchor(HPos::Center))?;
        }
    }
    Ok(())
}
