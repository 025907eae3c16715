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
        (bptt, parameters, test_ppl, format!("{emsize}/{nhid}{entry}"))
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
    let measured = by_length(measured.into_iter().map(|run| {
        let run: Measured = run.into();
        (run.bptt, run.parameters, run.test_ppl, format!("{}/{}", run.emsize, run.nhid))
    }));
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
    let panel = |points: Vec<(f64, f64)>, tolerance| Panel {
        x_label: "sequence length (tokens)".into(),
        integer_x: true,
        y_label: "test perplexity".into(),
        series: vec![Series { markers: true, tolerance, ..Series::line("", points) }],
        ..Panel::default()
    };
    let tolerance = paper::LENGTHS_TOLERANCE;
    let published = paper::LENGTHS.iter().map(|length| (length.bptt as f64, length.ppl));
    let published = Panel {
        title: "Published".into(),
        subtitle: format!("WikiText-103, full size; read from the chart by eye, ±{tolerance}"),
        ..panel(published.collect(), tolerance)
    };
    let mut measured: Vec<Measured> = measured.into_iter().map(Into::into).collect();
    measured.sort_by_key(|run| run.bptt);
    let measured = measured.iter().map(|run| (run.bptt as f64, run.test_ppl));
    side_by_side(
        "perplexity_vs_bptt",
        "Test perplexity against sequence length",
        published,
        panel(measured.collect(), 0.0),
    )
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

/// A panel with one series per sequence length. The points are sequence lengths, parameters, perplexities and
/// labels.
fn by_length(points: impl Iterator<Item = (usize, u64, f64, String)>) -> Panel {
    let mut lengths = BTreeMap::<usize, Vec<PlotPoint>>::new();
    for (bptt, parameters, y, label) in points {
        let point = PlotPoint { x: parameters as f64 / 1e6, y, label: Some(label) };
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
