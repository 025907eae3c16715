//! Input of plots: trained models as points, runs as curves.

/// A trained model as a point of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Embedding width.
    pub emsize: usize,
    /// Hidden width.
    pub nhid: usize,
    /// Mean sequence length in training, in tokens.
    pub bptt: usize,
    /// Number of parameters, without the tombstones of the split softmax.
    pub parameters: u64,
    /// Perplexity on the test split; NaN if it was not measured.
    pub perplexity: f64,
}

impl From<&Point> for Point {
    fn from(point: &Point) -> Self {
        point.clone()
    }
}

/// Loss or perplexity of a run by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Name of the run.
    pub label: String,
    /// (step, value) pairs.
    pub points: Vec<(f64, f64)>,
}

impl From<&Curve> for Curve {
    fn from(curve: &Curve) -> Self {
        curve.clone()
    }
}
