//! The matrix products of a model.

use qrnn::model::LmConfig;

/// A product of (rows, depth) and (depth, columns).
pub struct Product {
    pub rows: f64,
    pub depth: f64,
    pub columns: f64,
}

impl Product {
    /// Floating-point operations: multiplications and additions.
    pub fn operations(&self) -> f64 {
        2.0 * self.rows * self.depth * self.columns
    }
}

/// The products of a forward pass over `words` tokens, `in_tails` of which are in each tail: those of the
/// layers, and those of the softmax's clusters, the head first.
pub fn products(
    config: &LmConfig,
    borders: &[usize],
    words: f64,
    in_tails: &[f64],
) -> (Vec<Product>, Vec<Product>) {
    let layers = config.layer_shapes().into_iter().map(|layer| Product {
        rows: words,
        depth: layer.columns() as f64,
        columns: layer.rows() as f64,
    });
    let depth = config.emsize as f64;
    let head = borders.first().copied().unwrap_or(config.vocab) + borders.len();
    let mut clusters = vec![Product { rows: words, depth, columns: head as f64 }];
    let ends = borders.iter().skip(1).copied().chain([config.vocab]);
    for ((start, end), rows) in borders.iter().zip(ends).zip(in_tails) {
        clusters.push(Product { rows: *rows, depth, columns: (end - start) as f64 });
    }
    (layers.collect(), clusters)
}
