//! What a figure shows, before it is drawn.

use super::draw::PAGE;

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
    /// What the series' labels are values of.
    pub legend_title: String,
    pub series: Vec<Series>,
    pub reference: Option<Reference>,
}

/// Points of one colour.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Series {
    pub label: String,
    pub points: Vec<Mark>,
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

impl Figure {
    /// Of the ordinary size.
    pub fn new(title: impl Into<String>, panels: Vec<Panel>) -> Self {
        Self { title: title.into(), panels, page: PAGE, done: None }
    }

    /// Leaves out every point and reference that has no place on an axis.
    pub fn without_gaps(mut self) -> Self {
        for panel in &mut self.panels {
            for series in &mut panel.series {
                series.points.retain(Mark::is_drawable);
            }
            panel.series.retain(|series| !series.points.is_empty());
            panel.reference = panel.reference.take().filter(|line| drawable(line.value));
        }
        self
    }
}
