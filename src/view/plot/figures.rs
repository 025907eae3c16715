//! Builds the figures: perplexity against parameters or sequence length, training curves, forget gates.

use super::chart::{Figure, Panel, PlotPoint, Reference, Series};
use super::heat::HeatMap;
use super::paper_panels;
use super::picture::Plot;
use super::points::{Curve, Point};
use crate::model::Gates;
use crate::paper;

/// Maximum number of units in a plot of gates.
const UNITS: usize = 40;

/// Plots test perplexity against parameters: the published experiment table, and a second panel with
/// `measured` unless it is empty.
///
/// `measured` holds [`Point`]s or values that convert to them, such as training runs.
pub fn perplexity_vs_parameters<'a, T>(measured: &'a [T]) -> Plot
where
    Point: From<&'a T>,
{
    let measured: Vec<Point> = measured.iter().map(Point::from).collect();
    let published: Vec<Point> = paper::ROWS.iter().map(paper_panels::point).collect();
    let mut left = by_length(&published);
    paper_panels::label_entry(&mut left);
    left.title = "Published".into();
    left.subtitle = "WikiText-103, full size".into();
    left.reference = Some(Reference {
        value: paper::PERPLEXITY_LIMIT,
        label: format!("limit of the challenge, {:.0}", paper::PERPLEXITY_LIMIT),
    });
    side_by_side(
        "perplexity_vs_parameters",
        "Test perplexity against parameters",
        left,
        by_length(&measured),
    )
}

/// Plots test perplexity against sequence length: the published figure, and a second panel with `measured`
/// unless it is empty.
pub fn perplexity_vs_bptt<'a, T>(measured: &'a [T]) -> Plot
where
    Point: From<&'a T>,
{
    let mut measured: Vec<Point> = measured.iter().map(Point::from).collect();
    measured.sort_by_key(|point| point.bptt);
    let points = measured.iter().map(|point| PlotPoint::new(point.bptt as f64, point.perplexity));
    let right = paper_panels::length_panel(points.collect());
    side_by_side(
        "perplexity_vs_bptt",
        "Test perplexity against sequence length",
        paper_panels::lengths(),
        right,
    )
}

/// Plots perplexity against training steps, one curve per run.
pub fn training_curve<'a, T>(runs: &'a [T]) -> Plot
where
    Curve: From<&'a T>,
{
    let series = runs.iter().map(Curve::from).map(|run| Series {
        label: run.label,
        points: run.points.into_iter().map(|(step, value)| PlotPoint::new(step, value)).collect(),
        line: true,
        ..Series::default()
    });
    let mut series: Vec<Series> = series.collect();
    for series in &mut series {
        // A single point has no line, so it gets a marker.
        series.markers = series.points.len() < 2;
    }
    let panel = Panel {
        x_label: "step".into(),
        integer_x: true,
        log_y: true,
        y_label: "perplexity".into(),
        series,
        ..Panel::default()
    };
    Plot::new("training_curve", Figure::new("Training", vec![panel]))
}

/// Plots the forget gates of a layer over a text as a heat map, dark where a unit keeps its state. Shows the
/// units whose gates vary most from token to token, sorted by mean, the most forgetful first.
pub fn forget_gates(gates: &Gates) -> Plot {
    let n = gates.words.len().max(1) as f64;
    let units = gates.forget.first().map_or(0, Vec::len);
    let mut rows: Vec<(f64, f64, (String, Vec<f64>))> = (0..units)
        .map(|unit| {
            let values: Vec<f64> = gates.forget.iter().map(|row| f64::from(row[unit])).collect();
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
            (variance, mean, (unit.to_string(), values))
        })
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    rows.truncate(UNITS);
    rows.sort_by(|a, b| b.1.total_cmp(&a.1));
    let selection = if units > UNITS {
        format!("{UNITS} of {units} units: those whose gates vary most")
    } else {
        format!("all {units} units")
    };
    let map = HeatMap {
        title: format!("Forget gates of layer {}", gates.layer),
        subtitle: format!("{selection}, the most forgetful at the top"),
        x_labels: gates.words.clone(),
        rows: rows.into_iter().map(|(_, _, row)| row).collect(),
        ends: ["keeps", "takes"],
    };
    Plot::from_heat_map("forget_gates", map)
}

/// A panel with one series per sequence length and points labeled emsize/nhid.
fn by_length(points: &[Point]) -> Panel {
    let mut lengths: Vec<usize> = points.iter().map(|point| point.bptt).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let series = lengths.into_iter().map(|bptt| Series {
        label: bptt.to_string(),
        points: points.iter().filter(|point| point.bptt == bptt).map(labeled_point).collect(),
        markers: true,
        ..Series::default()
    });
    Panel {
        x_label: "parameters (millions)".into(),
        y_label: "test perplexity".into(),
        legend_title: "sequence length (tokens)".into(),
        series: series.collect(),
        ..Panel::default()
    }
}

fn labeled_point(point: &Point) -> PlotPoint {
    PlotPoint {
        x: point.parameters as f64 / 1e6,
        y: point.perplexity,
        label: Some(format!("{}/{}", point.emsize, point.nhid)),
    }
}

/// A figure of the published panel and, unless it is empty, the measured panel to its right.
fn side_by_side(name: &'static str, title: &str, published: Panel, mut measured: Panel) -> Plot {
    measured.title = "Measured".into();
    let mut panels = vec![published];
    if measured.series.iter().any(|series| !series.points.is_empty()) {
        panels.push(measured);
    }
    Plot::new(name, Figure::new(title, panels))
}
