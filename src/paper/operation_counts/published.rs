//! The published count.

use super::ledger::{Cost, FULL_BITS, Ledger, Part};
use crate::model::{LayerShape, LmConfig};
use crate::packed::zeros_of;

/// Widths and zeros of the published count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    pub param_bits: u32,
    pub mul_bits: u32,
    /// Fraction of zeros of the embedding and of each linear weight; a mask is stored unless it is 0.
    pub sparsity: f64,
}

impl Published {
    pub fn ledger(self, config: &LmConfig) -> Ledger {
        let mut ledger = Ledger::default();
        let vocab = config.vocab as u128;
        let tied = self.weights(&mut ledger, Part::Embedding, vocab * config.emsize as u128, 1);
        for (shape, layers) in layer_groups(config) {
            self.layer(&mut ledger, shape, layers);
        }
        let mut add = |what, cost, number, bits| {
            ledger.add(Part::BlockDecoder, what, cost, number, bits);
        };
        add("biases", Cost::Storage, vocab, self.param_bits);
        add("products", Cost::Multiplications, tied, self.mul_bits);
        add("products", Cost::Additions, tied.saturating_sub(vocab), FULL_BITS);
        add("maximum", Cost::Multiplications, vocab, self.mul_bits);
        ledger
    }

    /// Adds the storage of `times` tensors, and returns the non-zeros of one.
    fn weights(self, ledger: &mut Ledger, part: Part, elements: u128, times: u128) -> u128 {
        let nonzeros = elements - zeros_of(elements, self.sparsity);
        ledger.add(part, "weights", Cost::Storage, nonzeros * times, self.param_bits);
        if zeros_of(u128::from(u64::MAX), self.sparsity) > 0 {
            ledger.add(part, "mask", Cost::Storage, elements * times, 1);
        }
        nonzeros
    }

    fn layer(self, ledger: &mut Ledger, shape: LayerShape, times: u128) {
        let (rows, width) = (shape.rows() as u128, shape.output as u128);
        let elements = rows * shape.columns() as u128;
        let nonzeros = self.weights(ledger, Part::BlockQrnn, elements, times);
        let mut add = |what, cost, number: u128, bits| {
            ledger.add(Part::BlockQrnn, what, cost, number * times, bits);
        };
        add("biases", Cost::Storage, rows, self.param_bits);
        add("products", Cost::Multiplications, nonzeros, self.mul_bits);
        add(
            "gates and pooling",
            Cost::Multiplications,
            GATE_MULTIPLICATIONS * width,
            self.mul_bits,
        );
        add("products", Cost::Additions, nonzeros, FULL_BITS);
        add("gates and pooling", Cost::Additions, GATE_ADDITIONS * width, FULL_BITS);
    }
}

/// Multiplications of a unit's tanh, two sigmoids and pooling.
pub(super) const GATE_MULTIPLICATIONS: u128 = 9;

/// Additions of the same.
pub(super) const GATE_ADDITIONS: u128 = 6;

/// Shapes of the layers with their multiplicities; a list of all layers would fill the memory for an absurd
/// `nlayers`.
pub(super) fn layer_groups(config: &LmConfig) -> Vec<(LayerShape, u128)> {
    let listed = config.layers.min(3);
    let shapes = config.clone().layers(listed).layer_shapes();
    let repeats = (config.layers - listed) as u128;
    let count = |i| if i == 1 { 1 + repeats } else { 1 };
    shapes.into_iter().enumerate().map(|(i, shape)| (shape, count(i))).collect()
}
