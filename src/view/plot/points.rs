//! What a plot draws: trained models as points, runs as curves.

/// What one trained model adds to a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Width of the embedding.
    pub emsize: usize,
    /// Hidden width.
    pub nhid: usize,
    /// Mean sequence length in training, in words.
    pub bptt: usize,
    /// Parameters, the tombstones not counted.
    pub parameters: u64,
    /// Perplexity on the test split; NaN where the run was not tested.
    pub perplexity: f64,
}

impl From<&Point> for Point {
    fn from(point: &Point) -> Self {
        point.clone()
    }
}

/// A run's loss or perplexity by step.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Name of the run.
    pub label: String,
    /// Step and value.
    pub points: Vec<(f64, f64)>,
}

impl From<&Curve> for Curve {
    fn from(curve: &Curve) -> Self {
        curve.clone()
    }
}
