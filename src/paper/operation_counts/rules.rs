//! The count by the rules of the MicroNet Challenge 2019 (`scoring_and_submission.md` of
//! micronet-challenge.github.io, and `counting.py` of google-research).
//!
//! - A parameter of b bits counts b / 32. All numbers that inference needs count: masks, scales, codebooks, biases.
//! - A product counts by its wider factor, an addition 32 bits.
//! - Who quantizes nothing may count storage and multiplications at 16 bits. Once anything is narrower, numbers in
//!   floating point count 32.
//! - Each word needs the whole distribution: all clusters of the softmax, the tombstones among them.
//!
//! Like the published count, and unlike the page, which takes 1: a tanh counts 3 multiplications and 2 additions, a
//! sigmoid 2 and 1. Converting 8-bit integers by the one scale of a tensor is free; scales per row are multiplied.

use super::ledger::{Cost, FULL_BITS, Ledger, Part};
use super::model_size::{ClusterSize, LayerSize, ModelSize};
use super::published::{GATE_ADDITIONS, GATE_MULTIPLICATIONS};
use crate::packed::TensorSize;

/// The ledger of a model.
///
/// * `proved`: count the additions of products at the width that no sum can exceed, where it is known.
pub(super) fn ledger(model: &ModelSize, proved: bool) -> Ledger {
    let float_bits = model.float_bits;
    let mut rules = Rules { model, proved, float_bits, ledger: Ledger::default() };
    rules.embedding();
    for layer in &model.layers {
        rules.layer(layer);
    }
    rules.decoder();
    rules.cache();
    rules.ledger
}

struct Rules<'a> {
    model: &'a ModelSize,
    proved: bool,
    /// Bits of numbers in floating point, and of products with one.
    float_bits: u32,
    ledger: Ledger,
}

impl Rules<'_> {
    fn embedding(&mut self) {
        let model = self.model;
        for cluster in &model.clusters {
            self.storage(Part::Embedding, "weights", &cluster.weight);
            if let Some(projection) = &cluster.projection {
                self.storage(Part::Embedding, "projections", projection);
            }
        }
        for (k, cluster) in model.clusters.iter().enumerate() {
            let Some(projection) = &cluster.projection else { continue };
            // Only words of the cluster pass through its projection.
            let [tokens, all] = model.input_share(k).map(u128::from);
            let (products, sums) = (projection.nonzeros, without_first(projection));
            let bits = self.product_bits(projection);
            self.multiply(Part::Embedding, "input projections", products * tokens / all, bits);
            self.add(Part::Embedding, "input projections", sums * tokens / all);
        }
    }

    fn layer(&mut self, layer: &LayerSize) {
        let LayerSize { weight, biases, output } = layer;
        self.storage(Part::BlockQrnn, "weights", weight);
        let times = weight.times;
        self.store_floats(Part::BlockQrnn, "biases", biases * times);
        let bits = self.product_bits(weight);
        self.multiply(Part::BlockQrnn, "products", weight.nonzeros * times, bits);
        self.sums(Part::BlockQrnn, weight);
        self.add(Part::BlockQrnn, "biases", weight.nonempty_rows * times);
        if weight.scales > 1 {
            let bits = self.float_bits;
            self.multiply(Part::BlockQrnn, "scales", weight.scales * times, bits);
        }
        let (units, bits) = (output * times, self.float_bits);
        // The published count leaves out the product o·c.
        let what = "gates and pooling";
        self.multiply(Part::BlockQrnn, what, (GATE_MULTIPLICATIONS + 1) * units, bits);
        self.add(Part::BlockQrnn, what, GATE_ADDITIONS * units);
    }

    fn decoder(&mut self) {
        let model = self.model;
        let part = Part::BlockDecoder;
        self.storage(part, "biases", &model.decoder_bias);
        if let Some(tombstones) = &model.tombstones {
            self.storage(part, "tombstones", tombstones);
            self.store_floats(part, "tombstones", tombstones.rows());
            self.product(part, "tombstones", tombstones);
            self.add(part, "biases", tombstones.rows());
        }
        self.store_floats(part, "activation scales", model.activation_scales);
        for ClusterSize { weight, projection, .. } in &model.clusters {
            if let Some(projection) = projection {
                // Transposed: a sum for each column.
                let (products, sums) = (projection.nonzeros, projection.nonempty_columns);
                let bits = self.product_bits(projection);
                self.multiply(part, "output projections", products, bits);
                self.add(part, "output projections", products - sums);
            }
            self.product(part, "products", weight);
            self.add(part, "biases", weight.nonempty_rows);
        }
        for classes in model.softmax_classes() {
            let bits = self.float_bits;
            self.multiply(part, "softmax", 2 * classes, bits);
            self.add(part, "softmax", classes.saturating_sub(1));
        }
    }

    /// As MIT-HAN-Lab's verified submission counts it: keys are activations, which are not stored.
    fn cache(&mut self) {
        let Some(size) = self.model.cache else { return };
        let (size, width) = (size as u128, self.model.emsize);
        let part = Part::NeuralCache;
        self.store_floats(part, "λ and θ", 2);
        let key_bits = self.model.activation_bits.unwrap_or(self.float_bits);
        self.multiply(part, "products", size * width, key_bits);
        self.add(part, "products", size * width.saturating_sub(1));
        let bits = self.float_bits;
        self.multiply(part, "scaling of the query", width, bits);
        self.multiply(part, "softmax", 2 * size, bits);
        self.add(part, "softmax", size.saturating_sub(1));
        // λ is folded into the normalizer of the cache.
        self.add(part, "mixing", size);
        self.multiply(part, "mixing", 2, bits);
    }

    /// Weights, mask, scales and codebook.
    fn storage(&mut self, part: Part, what: &'static str, tensor: &TensorSize) {
        let times = tensor.times;
        let mut add =
            |what, number, bits| self.ledger.add(part, what, Cost::Storage, number * times, bits);
        add(what, tensor.stored, tensor.code_bits);
        add("masks", tensor.mask_bits, 1);
        add("scales", tensor.scales, FULL_BITS);
        add("codebooks", tensor.book_entries, 8);
    }

    fn store_floats(&mut self, part: Part, what: &'static str, number: u128) {
        self.ledger.add(part, what, Cost::Storage, number, self.float_bits);
    }

    /// A matrix times a vector.
    fn product(&mut self, part: Part, what: &'static str, weight: &TensorSize) {
        let bits = self.product_bits(weight);
        self.multiply(part, what, weight.nonzeros * weight.times, bits);
        self.sums(part, weight);
    }

    /// The sums of a product.
    fn sums(&mut self, part: Part, weight: &TensorSize) {
        match self.model.activation_bits.filter(|_| self.proved && !weight.row_sums.is_empty()) {
            None => self.add(part, "sums of products", without_first(weight) * weight.times),
            Some(activation_bits) => {
                for (bits, number) in weight.proved_additions(activation_bits) {
                    let what = "sums of products";
                    self.ledger.add(part, what, Cost::Additions, number * weight.times, bits);
                }
            }
        }
    }

    /// Bits of a product of a weight and an activation: those of the wider one.
    fn product_bits(&self, weight: &TensorSize) -> u32 {
        weight.value_bits.max(self.model.activation_bits.unwrap_or(self.float_bits))
    }

    fn multiply(&mut self, part: Part, what: &'static str, number: u128, bits: u32) {
        self.ledger.add(part, what, Cost::Multiplications, number, bits);
    }

    fn add(&mut self, part: Part, what: &'static str, number: u128) {
        self.ledger.add(part, what, Cost::Additions, number, FULL_BITS);
    }
}

/// Additions of a product: each row's non-zeros but the first.
fn without_first(weight: &TensorSize) -> u128 {
    weight.nonzeros - weight.nonempty_rows
}
