//! Builds the figures: perplexity against parameters or sequence length, training curves, forget gates.

use std::collections::BTreeMap;

use super::chart::{Content, Panel, Plot, PlotPoint, Reference, Series, drawable};
use super::heat::HeatMap;
use crate::model::Gates;
use crate::paper::operation_counts::count_ops;
use crate::paper::results::Measured;
use crate::paper::{self, PublishedRow};

/// Maximum number of units in a plot of gates.
const UNITS: usize = 40;

/// A curve is drawn from where it falls below this multiple of its minimum; the steep start would flatten
/// the rest.
const MAX_RATIO: f64 = 6.0;

/// Perplexity of a run by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Name of the run, and whether the perplexity is that of training or validation.
    pub label: String,
    /// (step, value) pairs.
    pub points: Vec<(f64, f64)>,
}

impl From<&Curve> for Curve {
    fn from(curve: &Curve) -> Self {
        curve.clone()
    }
}

/// Plots test perplexity against parameters: the published experiment table, and a second panel with
/// `measured` unless it is empty.
///
/// `measured` holds [`Measured`]s or values that convert to them: training runs.
pub fn perplexity_vs_parameters<T: Into<Measured>>(measured: impl IntoIterator<Item = T>) -> Plot {
    let published = paper::ROWS.iter().map(|row| {
        let PublishedRow { emsize, nhid, bptt, test_ppl, .. } = row.published;
        let entry = if row.name == paper::ENTRY { " (entry)" } else { "" };
        // Counted here, since the published number of the first row alone includes the tombstones.
        let parameters = count_ops(&row.config()).parameters;
        (bptt, parameters, [test_ppl, 0.0], format!("{emsize}/{nhid}{entry}"))
    });
    let published = Panel {
        title: "Published".into(),
        subtitle: "WikiText-103, full size".into(),
        reference: Some(Reference {
            value: paper::PERPLEXITY_LIMIT,
            label: format!("limit of the challenge, {:.0}", paper::PERPLEXITY_LIMIT),
        }),
        ..by_length(published)
    };
    let measured: Vec<Measured> = measured.into_iter().map(Into::into).collect();
    let points = measured.iter().map(|run| {
        let label = format!("{}/{}", run.emsize, run.nhid);
        (run.bptt, run.parameters, [run.test_ppl, error_bar(run)], label)
    });
    let measured = Panel { note: bars_note(&measured), ..by_length(points) };
    side_by_side(
        "perplexity_vs_parameters",
        "Test perplexity against parameters",
        published,
        measured,
    )
}

/// Plots test perplexity against sequence length: the published figure, and a second panel with `measured`
/// unless it is empty.
pub fn perplexity_vs_bptt<T: Into<Measured>>(measured: impl IntoIterator<Item = T>) -> Plot {
    let panel = |points: Vec<PlotPoint>| Panel {
        x_label: "sequence length (tokens)".into(),
        integer_x: true,
        y_label: "test perplexity".into(),
        series: vec![Series { points, markers: true, line: true, ..Series::default() }],
        ..Panel::default()
    };
    let point = |bptt: usize, y, error| PlotPoint { x: bptt as f64, y, error, label: None };
    let tolerance = paper::LENGTHS_TOLERANCE;
    let published = paper::LENGTHS.iter().map(|length| point(length.bptt, length.ppl, tolerance));
    let published = Panel {
        title: "Published".into(),
        subtitle: format!("WikiText-103, full size; read from the chart by eye, ±{tolerance}"),
        ..panel(published.collect())
    };
    let mut measured: Vec<Measured> = measured.into_iter().map(Into::into).collect();
    measured.sort_by_key(|run| run.bptt);
    let points = measured.iter().map(|run| point(run.bptt, run.test_ppl, error_bar(run)));
    let panel = Panel { note: bars_note(&measured), ..panel(points.collect()) };
    side_by_side("perplexity_vs_bptt", "Test perplexity against sequence length", published, panel)
}

/// Plots perplexity against training steps, one curve per run, without its steep start. A note counts the
/// points that are not drawn.
pub fn training_curve<T: Into<Curve>>(runs: impl IntoIterator<Item = T>) -> Plot {
    let (mut early, mut huge) = (0, 0);
    let series = runs.into_iter().map(Into::into).map(|mut run: Curve| {
        early += run.points.drain(..steep_start(&run.points)).count();
        huge += run.points.iter().filter(|point| !drawable(point.1)).count();
        // A single point has no line, so it gets a marker.
        let markers = run.points.len() < 2;
        Series { markers, ..Series::line(run.label, run.points) }
    });
    let panel = step_panel("perplexity", series.collect());
    let early = (early > 0).then(|| {
        format!("{early} at the start of a curve, above {MAX_RATIO} times its lowest perplexity")
    });
    let huge = (huge > 0).then(|| format!("{huge} too large to draw"));
    let omitted: Vec<String> = early.into_iter().chain(huge).collect();
    let subtitle = match omitted.is_empty() {
        true => String::new(),
        false => format!("Points not shown: {}.", omitted.join("; ")),
    };
    let panel = Panel { subtitle, ..panel };
    Plot::new("training_curve", "Training", Content::Panels(vec![panel]))
}

/// Number of points in the steep start of a curve of perplexities.
pub(super) fn steep_start(points: &[(f64, f64)]) -> usize {
    let min = points.iter().map(|(_, ppl)| *ppl).fold(f64::INFINITY, f64::min);
    points.iter().take_while(|(_, ppl)| *ppl > MAX_RATIO * min).count()
}

/// A panel of curves by step.
pub(super) fn step_panel(y_label: &str, series: Vec<Series>) -> Panel {
    let (x_label, y_label) = ("step".into(), y_label.into());
    Panel { x_label, y_label, integer_x: true, log_y: true, series, ..Panel::default() }
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
        subtitle: format!("{selection}, the most forgetful at the top"),
        x_labels: gates.words.clone(),
        rows: rows.into_iter().map(|(_, _, row)| row).collect(),
        ends: ["keeps", "takes"],
    };
    let title = format!("Forget gates of layer {}", gates.layer);
    Plot::new("forget_gates", title, Content::Map(map))
}

/// Half the height of the error bar of a model: the standard deviation over its seeds.
fn error_bar(measured: &Measured) -> f64 {
    measured.test_ppl_deviation.unwrap_or(0.0)
}

/// What the error bars are; empty if there are none.
fn bars_note(measured: &[Measured]) -> String {
    let seeds = measured.iter().filter(|run| error_bar(run) > 0.0).map(|run| run.runs.len());
    match (seeds.clone().min(), seeds.max()) {
        (Some(least), Some(most)) if least == most => {
            format!("mean ± standard deviation over {most} seeds")
        }
        (Some(least), Some(most)) => {
            format!("mean ± standard deviation over {least} to {most} seeds")
        }
        _ => String::new(),
    }
}

/// A panel with one series per sequence length. The points are sequence lengths, parameters, perplexities with
/// their error bars, and labels.
fn by_length(points: impl Iterator<Item = (usize, u64, [f64; 2], String)>) -> Panel {
    let mut lengths = BTreeMap::<usize, Vec<PlotPoint>>::new();
    for (bptt, parameters, [y, error], label) in points {
        let point = PlotPoint { x: parameters as f64 / 1e6, y, error, label: Some(label) };
        lengths.entry(bptt).or_default().push(point);
    }
    let series = lengths.into_iter().map(|(bptt, points)| Series {
        label: bptt.to_string(),
        points,
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

/// A figure of the published panel and, unless it is empty, the measured panel to its right.
fn side_by_side(name: &'static str, title: &str, published: Panel, mut measured: Panel) -> Plot {
    measured.title = "Measured".into();
    let mut panels = vec![published];
    if measured.series.iter().any(|series| !series.points.is_empty()) {
        panels.push(measured);
    }
    Plot::new(name, title, Content::Panels(panels))
}
