//! Content of a figure, independent of drawing.

use super::style::PAGE;

/// A title and panels side by side.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub title: String,
    pub panels: Vec<Panel>,
    /// Width and height in page pixels.
    pub page: (u32, u32),
    /// Progress from 0 to 1, drawn as a bar below the title.
    pub progress: Option<f64>,
}

/// A plot with one pair of axes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Panel {
    pub title: String,
    pub subtitle: String,
    pub x_label: String,
    pub y_label: String,
    /// Whether the x axis has ticks at integers only.
    pub integer_x: bool,
    /// Whether the y axis may be logarithmic.
    pub log_y: bool,
    /// Heading of the legend.
    pub legend_title: String,
    pub series: Vec<Series>,
    pub reference: Option<Reference>,
    /// Reason shown if the panel has no points.
    pub empty_reason: Empty,
}

/// Reason why a panel has no points.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Empty {
    #[default]
    Unmeasured,
    /// All values are NaN, for example since the run was interrupted before its test.
    NotANumber,
    /// All values are infinite, NaN or too large for an axis.
    OffScale,
}

/// Points that share a color.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Series {
    pub label: String,
    pub points: Vec<PlotPoint>,
    /// Ascending indices into `points` before which the line is interrupted, since a point that cannot be
    /// drawn was removed there.
    pub breaks: Vec<usize>,
    pub line: bool,
    pub markers: bool,
    /// Half the height of the error bars; 0 for none.
    pub tolerance: f64,
}

/// A point with an optional label.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlotPoint {
    pub x: f64,
    pub y: f64,
    pub label: Option<String>,
}

/// A reference value, drawn as a dashed horizontal line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reference {
    pub value: f64,
    pub label: String,
}

impl PlotPoint {
    pub fn new(x: f64, y: f64) -> Self {
        Self { x, y, label: None }
    }

    /// Whether both coordinates can be drawn.
    fn is_drawable(&self) -> bool {
        drawable(self.x) && drawable(self.y)
    }
}

/// Whether a value can be drawn on an axis: sums and differences of such values are finite.
pub(super) fn drawable(value: f64) -> bool {
    value.abs() < 1e100
}

impl Series {
    /// Removes points that cannot be drawn, and interrupts the line there.
    fn drawable_only(&mut self) {
        let (old_breaks, mut breaks) = (std::mem::take(&mut self.breaks), vec![]);
        let (mut points, mut broken) = (vec![], false);
        for (i, point) in std::mem::take(&mut self.points).into_iter().enumerate() {
            broken |= old_breaks.contains(&i);
            if !point.is_drawable() {
                broken = true;
                continue;
            }
            if std::mem::take(&mut broken) && !points.is_empty() {
                breaks.push(points.len());
            }
            points.push(point);
        }
        (self.points, self.breaks) = (points, breaks);
    }

    /// The uninterrupted segments of the line.
    pub fn segments(&self) -> impl Iterator<Item = &[PlotPoint]> {
        let ends = self.breaks.iter().copied().chain([self.points.len()]);
        let mut start = 0;
        ends.map(move |end| {
            let segment = &self.points[start..end];
            start = end;
            segment
        })
    }
}

impl Figure {
    /// A figure of the default size without a progress bar.
    pub fn new(title: impl Into<String>, panels: Vec<Panel>) -> Self {
        Self { title: title.into(), panels, page: PAGE, progress: None }
    }

    /// All texts of the figure except tick labels.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let of_panels = self.panels.iter().flat_map(|panel| {
            let titles = [&panel.title, &panel.subtitle, &panel.x_label, &panel.y_label];
            let series = panel.series.iter().flat_map(|series| {
                let points = series.points.iter().filter_map(|point| point.label.as_ref());
                points.chain([&series.label])
            });
            titles.into_iter().chain([&panel.legend_title]).chain(series)
        });
        of_panels.chain([&self.title]).map(String::as_str)
    }

    /// Removes points and reference lines that cannot be drawn.
    pub fn drawable_only(mut self) -> Self {
        for panel in &mut self.panels {
            let mut points = panel.series.iter().flat_map(|series| &series.points).peekable();
            // After a second call, the points are gone and the reason is known.
            if points.peek().is_some() {
                let all_nan = points.all(|point| point.y.is_nan());
                panel.empty_reason = if all_nan { Empty::NotANumber } else { Empty::OffScale };
            }
            for series in &mut panel.series {
                series.drawable_only();
            }
            panel.series.retain(|series| !series.points.is_empty());
            if panel.series.is_empty() {
                panel.legend_title.clear();
            }
            panel.reference = panel.reference.take().filter(|line| drawable(line.value));
        }
        self
    }
}
