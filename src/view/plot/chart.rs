//! What a figure shows, before it is drawn.

use super::style::PAGE;

/// One or more panels side by side under a title.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub title: String,
    pub panels: Vec<Panel>,
    /// Width and height in page pixels.
    pub page: (u32, u32),
    /// The share of the work that is done, drawn as a bar under the title.
    pub done: Option<f64>,
}

/// One pair of axes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Panel {
    pub title: String,
    pub subtitle: String,
    pub x_label: String,
    pub y_label: String,
    /// Whether x counts something, so that only whole numbers make sense.
    pub counts: bool,
    /// Whether y may be drawn on a logarithmic axis.
    pub powers: bool,
    /// What the series' labels are values of.
    pub legend_title: String,
    pub series: Vec<Series>,
    pub reference: Option<Reference>,
    /// The reason, where the panel has no points.
    pub empty: Empty,
}

/// Why a panel has no points.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Empty {
    #[default]
    Unmeasured,
    /// A run that was interrupted has no test; a value that is NaN is the same here.
    NoNumber,
    /// None of the values has a place on an axis.
    OffScale,
}

/// Points of one color.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Series {
    pub label: String,
    pub points: Vec<Mark>,
    /// Places in `points` before which the line is broken, ascending: a point that has no place on an
    /// axis lay there.
    pub breaks: Vec<usize>,
    pub line: bool,
    pub markers: bool,
    /// Half the height of each point's error bar; 0 for none.
    pub tolerance: f64,
}

/// A point, and what is written beside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mark {
    pub x: f64,
    pub y: f64,
    pub label: Option<String>,
}

/// A value to compare with, drawn as a dashed horizontal line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reference {
    pub value: f64,
    pub label: String,
}

impl Mark {
    pub fn new(x: f64, y: f64) -> Self {
        Self { x, y, label: None }
    }

    /// Whether it has a place on an axis; sums and differences of such values stay finite.
    fn is_drawable(&self) -> bool {
        drawable(self.x) && drawable(self.y)
    }
}

pub(super) fn drawable(value: f64) -> bool {
    value.abs() < 1e100
}

impl Series {
    /// Leaves out every point that has no place on an axis, and breaks the line there.
    fn without_gaps(&mut self) {
        let (old, mut breaks) = (std::mem::take(&mut self.breaks), vec![]);
        let (mut kept, mut broken) = (vec![], false);
        for (i, point) in std::mem::take(&mut self.points).into_iter().enumerate() {
            broken |= old.contains(&i);
            if !point.is_drawable() {
                broken = true;
                continue;
            }
            if std::mem::take(&mut broken) && !kept.is_empty() {
                breaks.push(kept.len());
            }
            kept.push(point);
        }
        (self.points, self.breaks) = (kept, breaks);
    }

    /// The pieces of the line.
    pub fn pieces(&self) -> impl Iterator<Item = &[Mark]> {
        let ends = self.breaks.iter().copied().chain([self.points.len()]);
        let mut from = 0;
        ends.map(move |end| {
            let piece = &self.points[from..end];
            from = end;
            piece
        })
    }
}

impl Figure {
    /// Of the ordinary size.
    pub fn new(title: impl Into<String>, panels: Vec<Panel>) -> Self {
        Self { title: title.into(), panels, page: PAGE, done: None }
    }

    /// All that is written in it, but for numbers.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let of_panels = self.panels.iter().flat_map(|panel| {
            let own = [&panel.title, &panel.subtitle, &panel.x_label, &panel.y_label];
            let series = panel.series.iter().flat_map(|series| {
                let marks = series.points.iter().filter_map(|mark| mark.label.as_ref());
                marks.chain([&series.label])
            });
            own.into_iter().chain([&panel.legend_title]).chain(series)
        });
        of_panels.chain([&self.title]).map(String::as_str)
    }

    /// Leaves out every point and reference that has no place on an axis.
    pub fn without_gaps(mut self) -> Self {
        for panel in &mut self.panels {
            let mut points = panel.series.iter().flat_map(|series| &series.points).peekable();
            // A figure may come here twice.
            if points.peek().is_some() {
                let unknown = points.all(|point| point.y.is_nan());
                panel.empty = if unknown { Empty::NoNumber } else { Empty::OffScale };
            }
            for series in &mut panel.series {
                series.without_gaps();
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
