//! Lower bound of a training step: every product is computed once, and every value read and written
//! once. Values that can be recomputed are not read.

use qrnn::model::LmConfig;

use crate::precision::PrecisionChoice;

/// The cost of a kernel in a step.
pub struct KernelCost {
    pub name: &'static str,
    /// Floating-point operations.
    pub operations: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

impl KernelCost {
    /// The larger of the time of operations and that of memory traffic.
    fn seconds(&self, rate: f64, bandwidth: f64) -> f64 {
        (self.operations / rate).max(self.bytes / bandwidth)
    }
}

/// The batch of a step.
pub struct Workload {
    /// Number of tokens.
    pub words: f64,
    /// Number of distinct tokens.
    pub distinct: f64,
    /// Tokens of each tail.
    pub in_tails: Vec<f64>,
    pub format: PrecisionChoice,
}

/// The kernels of a step, with Adam on dense gradients.
pub fn kernels(config: &LmConfig, borders: &[usize], workload: &Workload) -> Vec<KernelCost> {
    // Bytes of an activation; gradients of weights and moments are always fp32.
    let activation = if workload.format == PrecisionChoice::Bf16 { 2.0 } else { 4.0 };
    let (words, emsize) = (workload.words, config.emsize as f64);
    let mut all = vec![];
    let mut add = |name, operations, bytes| all.push(KernelCost { name, operations, bytes });
    add(
        "embedding",
        0.0,
        5.0 * words * emsize * activation + 2.0 * workload.distinct * emsize * 4.0,
    );
    let mut parameters = (config.vocab as f64) * (emsize + 1.0);
    for layer in config.layer_shapes() {
        let (columns, rows) = (layer.columns() as f64, layer.rows() as f64);
        let operations = 2.0 * words * columns * rows;
        let activations = words * (columns + rows) * activation;
        for weight in [activation, activation, 4.0] {
            add("layers' products", operations, activations + columns * rows * weight);
        }
        let pass = words * layer.output as f64 * activation;
        add("pooling forward", 0.0, 4.0 * pass);
        add("pooling backward", 0.0, 7.0 * pass);
        parameters += rows * (columns + 1.0);
    }
    // Logits twice, and both gradients.
    let mut softmax = |rows: f64, classes: f64| {
        let operations = 4.0 * 2.0 * rows * classes * emsize;
        add("softmax", operations, (rows + classes) * emsize * (2.0 * activation + 4.0));
    };
    let tails = borders.len();
    softmax(words, (borders.first().copied().unwrap_or(config.vocab) + tails) as f64);
    for (k, rows) in workload.in_tails.iter().enumerate() {
        let end = borders.get(k + 1).copied().unwrap_or(config.vocab);
        softmax(*rows, (end - borders[k]) as f64);
    }
    parameters += tails as f64 * (emsize + 1.0);
    // Reads weights, two moments and gradients, writes all but the gradients; in bf16 also a copy
    // of the weights.
    let adam = if workload.format == PrecisionChoice::Bf16 { 30.0 } else { 28.0 };
    add("optimizer", 0.0, adam * parameters);
    all
}

/// Seconds of all kernels, one after another.
pub fn seconds(kernels: &[KernelCost], rate: f64, bandwidth: f64) -> f64 {
    kernels.iter().map(|kernel| kernel.seconds(rate, bandwidth)).sum()
}

#[cfg(test)]
mod tests {
    use qrnn::paper;

    use super::*;

    /// The estimate for the entry at 3.0 TB/s, and 790 or 395 TFLOP/s.
    #[test]
    fn the_lower_bound_of_the_entry_equals_the_estimate() {
        let entry = paper::entry();
        let config = LmConfig::paper(entry.published.emsize, entry.published.nhid).vocab(267_735);
        let borders = [2800, 20_000, 76_000];
        let words = 12_000.0;
        for (format, rate, gflop, megabytes, milliseconds) in [
            (PrecisionChoice::Bf16, 790e12, 2190.8, 7234.0, 4.34),
            (PrecisionChoice::Tf32, 395e12, 2190.8, 10666.0, 7.56),
        ] {
            let in_tails = [0.232, 0.0615, 0.0265].map(|share| share * words).to_vec();
            let workload = Workload { words, distinct: 3390.0, in_tails, format };
            let kernels = kernels(&config, &borders, &workload);
            let sum = |of: fn(&KernelCost) -> f64| kernels.iter().map(of).sum::<f64>();
            let near = |ours: f64, table: f64| (ours / table - 1.0).abs() < 2e-3;
            assert!(near(sum(|kernel| kernel.operations), gflop * 1e9));
            assert!(near(sum(|kernel| kernel.bytes), megabytes * 1e6), "{}", sum(|p| p.bytes));
            let ours = 1e3 * seconds(&kernels, rate, 3.0e12);
            assert!(near(ours, milliseconds), "{ours} ms");
        }
    }
}
