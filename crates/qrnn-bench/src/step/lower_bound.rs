//! Lower bound of a training step: every product is computed once, and every value read and written
//! once. Values that can be recomputed are not read.

use qrnn::model::LmConfig;
use qrnn_ops::profile::Stage;
use serde_json::{Value, json};

use crate::precision::PrecisionChoice;
use crate::products::{Product, products};

/// The cost of a kernel in a step.
struct KernelCost {
    name: &'static str,
    /// Floating-point operations.
    operations: f64,
    /// Bytes read and written.
    bytes: f64,
}

/// The kernels of a step, with Adam on dense gradients.
pub struct StepCost {
    kernels: Vec<KernelCost>,
    /// Bytes of all logits.
    logits: f64,
    parameters: f64,
}

impl StepCost {
    /// * `words`: tokens of the step;
    /// * `distinct`: its distinct tokens;
    /// * `in_tails`: its tokens in each tail.
    pub fn of(
        config: &LmConfig,
        borders: &[usize],
        words: f64,
        distinct: f64,
        in_tails: &[f64],
        format: PrecisionChoice,
    ) -> Self {
        // Bytes of an activation; gradients of weights and moments are always fp32.
        let activation = if format == PrecisionChoice::Bf16 { 2.0 } else { 4.0 };
        let emsize = config.emsize as f64;
        let mut kernels = vec![];
        let mut add =
            |name, operations, bytes| kernels.push(KernelCost { name, operations, bytes });
        let embedding = 5.0 * words * emsize * activation + 2.0 * distinct * emsize * 4.0;
        add(Stage::Embedding.name(), 0.0, embedding);
        let (layers, clusters) = products(config, borders, words, in_tails);
        let mut parameters = (config.vocab + borders.len()) as f64 * (emsize + 1.0);
        for (product, layer) in layers.iter().zip(config.layer_shapes()) {
            let Product { depth, columns, .. } = product;
            let activations = words * (depth + columns) * activation;
            for weight in [activation, activation, 4.0] {
                let bytes = activations + depth * columns * weight;
                add("layers' products", product.operations(), bytes);
            }
            let pass = words * layer.output as f64 * activation;
            add(Stage::PoolingForward.name(), 0.0, 4.0 * pass);
            add(Stage::PoolingBackward.name(), 0.0, 7.0 * pass);
            parameters += columns * (depth + 1.0);
        }
        let mut logits = 0.0;
        for product in &clusters {
            // Logits twice, and both gradients.
            let operands = (product.rows + product.columns) * emsize;
            add("softmax", 4.0 * product.operations(), operands * (2.0 * activation + 4.0));
            logits += product.rows * product.columns * activation;
        }
        // Reads weights, two moments and gradients, writes all but the gradients; in bf16 also a copy
        // of the weights.
        let adam = if format == PrecisionChoice::Bf16 { 30.0 } else { 28.0 };
        add(Stage::Optimizer.name(), 0.0, adam * parameters);
        Self { kernels, logits, parameters }
    }

    /// Floating-point operations.
    pub fn operations(&self) -> f64 {
        self.kernels.iter().map(|kernel| kernel.operations).sum()
    }

    /// Seconds of all kernels, one after another.
    pub fn seconds(&self, rate: f64, bandwidth: f64) -> f64 {
        if rate.is_nan() {
            return f64::NAN; // `max` ignores it
        }
        let seconds =
            |kernel: &KernelCost| (kernel.operations / rate).max(kernel.bytes / bandwidth);
        self.kernels.iter().map(seconds).sum()
    }

    /// Bytes that a stage reads and writes at least; `None` for products and small stages.
    pub fn bytes_of(&self, stage: Stage) -> Option<f64> {
        match stage {
            // In place: logits become their gradients.
            Stage::Softmax | Stage::CrossEntropy => Some(2.0 * self.logits),
            Stage::GradientNorm => Some(4.0 * self.parameters),
            _ => {
                let kernels = self.kernels.iter().filter(|kernel| kernel.name == stage.name());
                Some(kernels.map(|kernel| kernel.bytes).sum()).filter(|bytes| *bytes > 0.0)
            }
        }
    }

    /// The kernels in JSON.
    pub fn counted(&self) -> Vec<Value> {
        let value = |kernel: &KernelCost| json!({"kernel": kernel.name, "operations": kernel.operations, "bytes": kernel.bytes});
        self.kernels.iter().map(value).collect()
    }
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
            let in_tails = [0.232, 0.0615, 0.0265].map(|share| share * words);
            let cost = StepCost::of(&config, &borders, words, 3390.0, &in_tails, format);
            let near = |ours: f64, table: f64| (ours / table - 1.0).abs() < 2e-3;
            assert!(near(cost.operations(), gflop * 1e9));
            let bytes: f64 = cost.kernels.iter().map(|kernel| kernel.bytes).sum();
            assert!(near(bytes, megabytes * 1e6), "{bytes}");
            let ours = 1e3 * cost.seconds(rate, 3.0e12);
            assert!(near(ours, milliseconds), "{ours} ms");
            // The parameters of the entry, without the paper's three further biases.
            let parameters = cost.bytes_of(Stage::GradientNorm).unwrap() / 4.0;
            assert!(near(parameters, 104_906_238.0), "{parameters}");
            assert_eq!(cost.bytes_of(Stage::MatrixProducts), None);
        }
        assert!(
            StepCost::of(&config, &borders, words, 1.0, &[0.0; 3], PrecisionChoice::Bf16)
                .seconds(f64::NAN, 1.0)
                .is_nan()
        );
    }
}
