//! Panels of the published figures.

use super::chart::{Panel, PlotPoint, Series};
use super::points::Point;
use crate::paper;

/// The point of a published row.
pub(super) fn point(row: &paper::Row) -> Point {
    Point {
        emsize: row.emsize,
        nhid: row.nhid,
        bptt: row.bptt,
        // Counted here, since the published number of the first row alone includes the tombstones.
        parameters: crate::paper::operation_counts::count_ops(&row.config()).parameters,
        perplexity: row.test_perplexity,
    }
}

/// Marks the point of the submitted entry in its label.
pub(super) fn label_entry(panel: &mut Panel) {
    let entry = paper::entry();
    let is_entry = |point: &PlotPoint| point.y == entry.test_perplexity;
    let mut points = panel.series.iter_mut().flat_map(|series| &mut series.points);
    if let Some(label) = points.find(|point| is_entry(point)).and_then(|point| point.label.as_mut())
    {
        label.push_str(" (entry)");
    }
}

/// The published figure of perplexity against sequence length.
pub(super) fn lengths() -> Panel {
    let points =
        paper::LENGTHS.iter().map(|length| PlotPoint::new(length.bptt as f64, length.perplexity));
    let mut panel = length_panel(points.collect());
    panel.title = "Published".into();
    panel.subtitle = format!(
        "WikiText-103, full size; read from the chart by eye, ±{}",
        paper::LENGTHS_TOLERANCE
    );
    panel.series[0].tolerance = paper::LENGTHS_TOLERANCE;
    panel
}

/// A panel of perplexity against sequence length.
pub(super) fn length_panel(points: Vec<PlotPoint>) -> Panel {
    Panel {
        x_label: "sequence length (tokens)".into(),
        integer_x: true,
        y_label: "test perplexity".into(),
        series: vec![Series { points, line: true, markers: true, ..Series::default() }],
        ..Panel::default()
    }
}
