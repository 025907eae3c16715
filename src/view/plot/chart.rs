//! Content of a plot, independent of drawing.

use super::axis::range;
use super::heat::HeatMap;

/// A plot that renders as SVG or PNG.
///
/// Its settings apply to measured panels; the published panel does not change.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    pub(super) name: &'static str,
    pub(super) title: String,
    pub(super) content: Content,
    /// Width and height in page pixels.
    pub(super) page: (u32, u32),
    /// Progress from 0 to 1, drawn as a bar below the title.
    pub(super) progress: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Panels side by side.
    Panels(Vec<Panel>),
    Map(HeatMap),
}

/// A plot with one pair of axes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Panel {
    pub title: String,
    pub subtitle: String,
    /// A line below the subtitle, for example what the error bars are.
    pub note: String,
    pub x_label: String,
    pub y_label: String,
    /// Whether the x axis has ticks at integers only.
    pub integer_x: bool,
    /// Whether the x axis is logarithmic.
    pub log_x: bool,
    /// Whether the y axis may be logarithmic.
    pub log_y: bool,
    /// Heading of the legend.
    pub legend_title: String,
    pub series: Vec<Series>,
    pub reference: Option<Reference>,
    /// Values below the panel.
    pub strip: Option<Strip>,
}

/// Points that share a color.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Series {
    pub label: String,
    pub points: Vec<PlotPoint>,
    pub line: bool,
    pub markers: bool,
}

/// A point with an optional label and error bar.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct PlotPoint {
    pub x: f64,
    pub y: f64,
    /// Half the height of the error bar; 0 for none.
    pub error: f64,
    pub label: Option<String>,
}

/// A reference value, drawn as a dashed horizontal line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reference {
    pub value: f64,
    pub label: String,
}

impl Plot {
    /// A plot of the default size without a progress bar.
    pub(super) fn new(name: &'static str, title: impl Into<String>, content: Content) -> Self {
        Self { name, title: title.into(), content, page: (900, 520), progress: None }
    }
}

impl PlotPoint {
    pub fn new((x, y): (f64, f64)) -> Self {
        Self { x, y, ..Self::default() }
    }

    fn is_drawable(&self) -> bool {
        drawable(self.x) && drawable(self.y) && drawable(self.error)
    }
}

/// Whether a value can be drawn on an axis: sums and differences of such values are finite.
pub(super) fn drawable(value: f64) -> bool {
    value.abs() < 1e100
}

impl Series {
    /// A line through these points.
    pub fn line(label: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().map(PlotPoint::new).collect();
        Self { label: label.into(), points, line: true, ..Self::default() }
    }

    /// The points that can be drawn.
    pub fn drawn(&self) -> impl Iterator<Item = &PlotPoint> {
        self.points.iter().filter(|point| point.is_drawable())
    }

    /// The segments of the line, which is interrupted where a point cannot be drawn.
    pub fn segments(&self) -> impl Iterator<Item = &[PlotPoint]> {
        self.points.split(|point| !point.is_drawable()).filter(|segment| !segment.is_empty())
    }
}

impl Panel {
    /// The points that can be drawn.
    pub fn drawn(&self) -> impl Iterator<Item = &PlotPoint> {
        self.series.iter().flat_map(Series::drawn)
    }

    /// Why nothing is drawn.
    pub fn empty_reason(&self) -> &'static str {
        let mut points = self.series.iter().flat_map(|series| &series.points).peekable();
        if points.peek().is_none() {
            "nothing measured yet"
        } else if points.all(|point| point.y.is_nan()) {
            // For example a run that was interrupted before its test.
            "nothing to draw: not measured to the end, or NaN"
        } else {
            "every value is infinite or NaN: nothing to draw"
        }
    }
}

/// A strip below a panel: values without a height.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Strip {
    pub title: String,
    /// Values with their labels.
    pub marks: Vec<(f64, Option<String>)>,
}

impl Strip {
    /// Its values, if they reach the range of the panel: both then have one x axis, and without it the panel's points
    /// would be far from all marks.
    pub fn shared_with(&self, panel: &Panel) -> Vec<f64> {
        let values = || self.marks.iter().map(|(value, _)| *value);
        let (low, high) = range(values());
        let (first, last) = range(panel.drawn().map(|point| point.x));
        if low <= last && first <= high { values().collect() } else { vec![] }
    }
}
