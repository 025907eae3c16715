//! The panels that show the published figures.

use super::chart::{Mark, Panel, Series};
use super::points::Point;
use crate::paper;

/// A published row as a point.
pub(super) fn point(row: &paper::Row) -> Point {
    Point {
        emsize: row.emsize,
        nhid: row.nhid,
        bptt: row.bptt,
        // All rows counted alike: the first publishes the loss's tombstones with the model.
        parameters: crate::paper::operation_counts::count_ops(&row.config()).parameters,
        perplexity: row.test_perplexity,
    }
}

/// Says which of the published points was handed in.
pub(super) fn name_entry(panel: &mut Panel) {
    let entry = paper::entry();
    let is_entry = |mark: &Mark| mark.y == entry.test_perplexity;
    let mut marks = panel.series.iter_mut().flat_map(|series| &mut series.points);
    if let Some(label) = marks.find(|mark| is_entry(mark)).and_then(|mark| mark.label.as_mut()) {
        label.push_str(" (entry)");
    }
}

/// The published figure of perplexity against sequence length.
pub(super) fn lengths() -> Panel {
    let marks =
        paper::LENGTHS.iter().map(|length| Mark::new(length.bptt as f64, length.perplexity));
    let mut panel = length_panel(marks.collect());
    panel.title = "Published".into();
    panel.subtitle = format!(
        "WikiText-103, full size; read off the chart by eye, ±{}",
        paper::LENGTHS_TOLERANCE
    );
    panel.series[0].tolerance = paper::LENGTHS_TOLERANCE;
    panel
}

/// A panel of perplexity against sequence length.
pub(super) fn length_panel(points: Vec<Mark>) -> Panel {
    Panel {
        x_label: "sequence length (words)".into(),
        counts: true,
        y_label: "test perplexity".into(),
        series: vec![Series { points, line: true, markers: true, ..Series::default() }],
        ..Panel::default()
    }
}
