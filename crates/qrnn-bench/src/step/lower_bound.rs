//! The least that a training step must do: every number read and written once, every product made
//! once. What can be computed again is not counted as read (SPEED.md, section 1).

use qrnn::model::LmConfig;

use crate::precision::PrecisionChoice;

/// A kernel's share of a step.
pub struct KernelCost {
    pub name: &'static str,
    /// Multiplications and additions.
    pub operations: f64,
    pub bytes: f64,
}

impl KernelCost {
    /// As long as the slower of the two takes.
    fn seconds(&self, rate: f64, bandwidth: f64) -> f64 {
        (self.operations / rate).max(self.bytes / bandwidth)
    }
}

/// What a step reads.
pub struct Reading {
    pub words: f64,
    /// Different words among them.
    pub distinct: f64,
    /// Words of each tail.
    pub in_tails: Vec<f64>,
    pub format: PrecisionChoice,
}

/// A step, kernel by kernel; Adam on dense gradients.
pub fn pieces(config: &LmConfig, borders: &[usize], reading: &Reading) -> Vec<KernelCost> {
    // An activation's bytes; weights' gradients and moments are in single precision always.
    let stored = if reading.format == PrecisionChoice::Bf16 { 2.0 } else { 4.0 };
    let (words, emsize) = (reading.words, config.emsize as f64);
    let mut all = vec![];
    let mut add = |name, operations, bytes| all.push(KernelCost { name, operations, bytes });
    add("embedding", 0.0, 5.0 * words * emsize * stored + 2.0 * reading.distinct * emsize * 4.0);
    let mut parameters = (config.vocab as f64) * (emsize + 1.0);
    for layer in config.layer_shapes() {
        let (columns, rows) = (layer.columns() as f64, layer.rows() as f64);
        let operations = 2.0 * words * columns * rows;
        let activations = words * (columns + rows) * stored;
        for weight in [stored, stored, 4.0] {
            add("layers' products", operations, activations + columns * rows * weight);
        }
        let pass = words * layer.output as f64 * stored;
        add("pooling forward", 0.0, 4.0 * pass);
        add("pooling backward", 0.0, 7.0 * pass);
        parameters += rows * (columns + 1.0);
    }
    // Logits forward and again, and both gradients.
    let mut softmax = |rows: f64, classes: f64| {
        let operations = 4.0 * 2.0 * rows * classes * emsize;
        add("softmax", operations, (rows + classes) * emsize * (2.0 * stored + 4.0));
    };
    let tails = borders.len();
    softmax(words, (borders.first().copied().unwrap_or(config.vocab) + tails) as f64);
    for (k, rows) in reading.in_tails.iter().enumerate() {
        let end = borders.get(k + 1).copied().unwrap_or(config.vocab);
        softmax(*rows, (end - borders[k]) as f64);
    }
    parameters += tails as f64 * (emsize + 1.0);
    // Weights, two moments and the gradient in, three out; in bf16 the weights' copy, too.
    let adam = if reading.format == PrecisionChoice::Bf16 { 30.0 } else { 28.0 };
    add("optimizer", 0.0, adam * parameters);
    all
}

/// Seconds of all pieces, one after the other.
pub fn seconds(pieces: &[KernelCost], rate: f64, bandwidth: f64) -> f64 {
    pieces.iter().map(|piece| piece.seconds(rate, bandwidth)).sum()
}

#[cfg(test)]
mod tests {
    use qrnn::paper;

    use super::*;

    /// The sums of SPEED.md's table for the entry: at 3.0 TB/s, and 790 or 395 TFLOP/s.
    #[test]
    fn the_entrys_floor_is_that_of_the_table() {
        let entry = paper::entry();
        let config = LmConfig::paper(entry.emsize, entry.nhid).vocab(267_735);
        let borders = [2800, 20_000, 76_000];
        let words = 12_000.0;
        for (format, rate, gflop, megabytes, milliseconds) in [
            (PrecisionChoice::Bf16, 790e12, 2190.8, 7234.0, 4.34),
            (PrecisionChoice::Tf32, 395e12, 2190.8, 10666.0, 7.56),
        ] {
            let in_tails = [0.232, 0.0615, 0.0265].map(|share| share * words).to_vec();
            let reading = Reading { words, distinct: 3390.0, in_tails, format };
            let pieces = pieces(&config, &borders, &reading);
            let sum = |of: fn(&KernelCost) -> f64| pieces.iter().map(of).sum::<f64>();
            let near = |ours: f64, table: f64| (ours / table - 1.0).abs() < 2e-3;
            assert!(near(sum(|piece| piece.operations), gflop * 1e9));
            assert!(near(sum(|piece| piece.bytes), megabytes * 1e6), "{}", sum(|p| p.bytes));
            let ours = 1e3 * seconds(&pieces, rate, 3.0e12);
            assert!(near(ours, milliseconds), "{ours} ms");
        }
    }
}
