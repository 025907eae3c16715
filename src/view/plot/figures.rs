//! The figures: perplexity against parameters and against sequence length, training curves, forget gates.

use super::chart::{Figure, Mark, Panel, Reference, Series};
use super::heat::HeatMap;
use super::paper_panels;
use super::picture::Plot;
use super::points::{Curve, Point};
use crate::model::Gates;
use crate::paper;

/// Units that a picture of gates shows.
const UNITS: usize = 40;

/// Test perplexity against parameters: the experiment table as published, and `measured` beside
/// it where there is any.
///
/// Takes a slice of [`Point`]s, or of anything that gives one.
pub fn perplexity_vs_parameters<'a, T>(measured: &'a [T]) -> Plot
where
    Point: From<&'a T>,
{
    let measured: Vec<Point> = measured.iter().map(Point::from).collect();
    let published: Vec<Point> = paper::ROWS.iter().map(paper_panels::point).collect();
    let mut left = by_length(&published);
    paper_panels::name_entry(&mut left);
    left.title = "Published".into();
    left.subtitle = "WikiText-103, full size".into();
    left.reference = Some(Reference {
        value: paper::PERPLEXITY_LIMIT,
        label: format!("limit of the challenge, {:.0}", paper::PERPLEXITY_LIMIT),
    });
    compare(
        "perplexity_vs_parameters",
        "Test perplexity against parameters",
        left,
        by_length(&measured),
    )
}

/// Test perplexity against sequence length: the published figure, and `measured` beside it where
/// there is any.
pub fn perplexity_vs_bptt<'a, T>(measured: &'a [T]) -> Plot
where
    Point: From<&'a T>,
{
    let mut measured: Vec<Point> = measured.iter().map(Point::from).collect();
    measured.sort_by_key(|point| point.bptt);
    let marks = measured.iter().map(|point| Mark::new(point.bptt as f64, point.perplexity));
    let right = paper_panels::length_panel(marks.collect());
    compare(
        "perplexity_vs_bptt",
        "Test perplexity against sequence length",
        paper_panels::lengths(),
        right,
    )
}

/// Loss or perplexity against steps, one curve a run.
pub fn training_curve<'a, T>(runs: &'a [T]) -> Plot
where
    Curve: From<&'a T>,
{
    let series = runs.iter().map(Curve::from).map(|run| Series {
        label: run.label,
        points: run.points.into_iter().map(|(step, value)| Mark::new(step, value)).collect(),
        line: true,
        ..Series::default()
    });
    let mut series: Vec<Series> = series.collect();
    for series in &mut series {
        // A run of one point has no line to show.
        series.markers = series.points.len() < 2;
    }
    let panel = Panel {
        x_label: "step".into(),
        counts: true,
        powers: true,
        y_label: "perplexity".into(),
        series,
        ..Panel::default()
    };
    Plot::new("training_curve", Figure::new("Training", vec![panel]))
}

/// The forget gates of a layer over a text, dark where a unit keeps its state: the units whose gate
/// changes most from word to word, the most forgetful first.
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
    let chosen = match units > UNITS {
        true => format!("{UNITS} of {units} units: those whose gate changes most"),
        false => format!("all {units} units"),
    };
    let map = HeatMap {
        title: format!("Forget gates of layer {}", gates.layer),
        subtitle: format!("{chosen}, the most forgetful at the top"),
        x_labels: gates.words.clone(),
        rows: rows.into_iter().map(|(_, _, row)| row).collect(),
        ends: ["keeps", "takes"],
    };
    Plot::of_map("forget_gates", map)
}

/// One color a sequence length, each point named by its widths.
fn by_length(points: &[Point]) -> Panel {
    let mut lengths: Vec<usize> = points.iter().map(|point| point.bptt).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let series = lengths.into_iter().map(|bptt| Series {
        label: bptt.to_string(),
        points: points.iter().filter(|point| point.bptt == bptt).map(mark).collect(),
        markers: true,
        ..Series::default()
    });
    Panel {
        x_label: "parameters (millions)".into(),
        y_label: "test perplexity".into(),
        legend_title: "sequence length (words)".into(),
        series: series.collect(),
        ..Panel::default()
    }
}

fn mark(point: &Point) -> Mark {
    Mark {
        x: point.parameters as f64 / 1e6,
        y: point.perplexity,
        label: Some(format!("{}/{}", point.emsize, point.nhid)),
    }
}

/// The published panel, and the measured one to its right unless it is empty.
fn compare(name: &'static str, title: &str, published: Panel, mut measured: Panel) -> Plot {
    measured.title = "Measured".into();
    let mut panels = vec![published];
    if measured.series.iter().any(|series| !series.points.is_empty()) {
        panels.push(measured);
    }
    Plot::new(name, Figure::new(title, panels))
}
