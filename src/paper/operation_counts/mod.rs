//! Counts parameters and operations per token as the MicroNet Challenge scores them.
//!
//! [`count_ops`] gives the published count. [`OpCounter`] also counts operations that the publication omits
//! ([`OpCounter::strict`]), pruned tensors and other bit widths.
//!
//! With vocabulary size V, embedding width E, and layers with C inputs (window × input width) and H
//! outputs, the published count is
//!
//! | part | parameters | multiplications | additions |
//! | --- | --- | --- | --- |
//! | embedding | V·E | 0 | 0 |
//! | QRNN layer | C·3H + 3H | C·3H + 9H | C·3H + 6H |
//! | decoder (tied) | V | V·E + V | V·(E - 1) |
//!
//! A QRNN layer's 9H and 6H are one tanh (3 multiplications and 2 additions a unit), two sigmoids
//! (2 and 1 each) and pooling (2 and 2); its C·3H additions are (C - 1)·3H of the matmul and 3H of the
//! bias. The decoder's V multiplications are the maximum over the vocabulary. The decoder always computes
//! the whole vocabulary, even if training splits the softmax.

mod table;
#[cfg(test)]
mod tests;

pub use table::{FIGURES, OpRow, OpTable};

use crate::model::{LayerShape, LmConfig, MAX_SIZE};
use crate::{Error, Result};

/// Storage of the challenge's baseline model, in 32-bit parameters.
pub const BASELINE_PARAMETERS: f64 = 159e6;

/// Operations of the challenge's baseline model per token.
pub const BASELINE_OPERATIONS: f64 = 318e6;

/// Bits of an activation: the challenge permits 16 bits without quantization.
const ACTIVATION_BITS: u32 = 16;

/// Bits at which an operation or a parameter counts as one.
const FULL_BITS: u32 = 32;

/// Denominator of the sparsity, which keeps counts exact in integers.
const SPARSITY_UNITS: u128 = 1_000_000_000;

/// Counts a model as published.
///
/// Clamps sizes to 2^31 - 1; [`OpCounter::count`] returns an error for larger ones.
pub fn count_ops(config: &LmConfig) -> OpTable {
    OpCounter::new().tally(config)
}

/// Counts parameters and operations with settings for bit widths and sparsity.
///
/// ```
/// # use qrnn::{model::LmConfig, paper::operation_counts::OpCounter};
/// let table = OpCounter::new().strict(true).sparsity(0.5).count(&LmConfig::paper(300, 1800))?;
/// assert!(table.score < 0.823);
/// # Ok::<(), qrnn::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OpCounter {
    strict: bool,
    param_bits: u32,
    mul_bits: Option<u32>,
    sparsity: f64,
}

impl Default for OpCounter {
    fn default() -> Self {
        Self { strict: false, param_bits: 16, mul_bits: None, sparsity: 0.0 }
    }
}

impl OpCounter {
    /// Settings of the published count: 16-bit parameters, no sparsity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also counts operations that the published table omits: the product o·c (H multiplications per
    /// layer), the decoder's bias (V additions) and the softmax (an exponential and a division per word,
    /// each counted as one multiplication, and V - 1 additions).
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Bits of a stored parameter, 1 to 32.
    pub fn param_bits(mut self, bits: u32) -> Self {
        self.param_bits = bits;
        self
    }

    /// Bits of a multiplication, 1 to 32. The default is the wider of its factors: a parameter and a 16-bit
    /// activation.
    pub fn mul_bits(mut self, bits: u32) -> Self {
        self.mul_bits = Some(bits);
        self
    }

    /// Fraction of zeros in the embedding and in each linear weight, at least 0 and below 1.
    ///
    /// A pruned tensor stores its non-zero elements and a mask of one bit per element; at 0 there is no
    /// mask. Biases are not pruned.
    pub fn sparsity(mut self, zeros: f64) -> Self {
        self.sparsity = zeros;
        self
    }

    /// Counts a model per token.
    ///
    /// # Errors
    /// [`Error::Config`] for invalid settings or sizes.
    pub fn count(&self, config: &LmConfig) -> Result<OpTable> {
        self.check()?;
        config.check()?;
        let table = self.tally(config);
        if table.parameters == u64::MAX {
            return Err(Error::config(
                "config.emsize, config.nhid, config.layers and config.vocab",
                "",
                "together give more parameters than 64 bits can count",
                "give the sizes of a model that could be built",
            ));
        }
        Ok(table)
    }

    fn check(&self) -> Result<()> {
        for (field, bits) in
            [("counter.param_bits", Some(self.param_bits)), ("counter.mul_bits", self.mul_bits)]
        {
            if let Some(bits) = bits.filter(|bits| !(1..=FULL_BITS).contains(bits)) {
                return Err(Error::config(
                    field,
                    bits,
                    "must be from 1 to 32 bits",
                    "give for example 8, 16 or 32",
                ));
            }
        }
        if !(0.0..1.0).contains(&self.sparsity) {
            return Err(Error::config(
                "counter.sparsity",
                self.sparsity,
                "must be at least 0 and below 1",
                "give 0 for a dense model, or for example 0.5",
            ));
        }
        Ok(())
    }

    fn tally(&self, config: &LmConfig) -> OpTable {
        let clamp = |size: usize| size.min(MAX_SIZE);
        let config = LmConfig {
            vocab: clamp(config.vocab),
            emsize: clamp(config.emsize),
            nhid: clamp(config.nhid),
            layers: clamp(config.layers),
            ..config.clone()
        };
        let (vocab, emsize) = (config.vocab as u128, config.emsize as u128);
        let (nonzeros, bits) = self.weight(vocab * emsize);

        let embedding = Cost { bits, mults: 0, adds: 0 };
        let mut qrnn = Cost::default();
        let mut parameters = vocab * emsize + vocab;
        for (shape, layers) in layer_groups(&config) {
            qrnn = qrnn.plus(self.layer(shape).times(layers));
            parameters += layers * (shape.rows() as u128) * (shape.columns() as u128 + 1);
        }
        let decoder = self.decoder(vocab, nonzeros);
        let total = embedding.plus(qrnn).plus(decoder);

        let mul_bits = self.mul_bits.unwrap_or(self.param_bits.max(ACTIVATION_BITS));
        let clusters = config.splits.borders(config.vocab).map_or(0, |borders| borders.len());
        OpTable {
            parameters: u64::try_from(parameters).unwrap_or(u64::MAX),
            criterion_parameters: clusters as u64 * (config.emsize as u64 + 1),
            rows: vec![
                embedding.row("embedding", mul_bits),
                qrnn.row("block_qrnn", mul_bits),
                decoder.row("block_decoder", mul_bits),
            ],
            total: total.row("total", mul_bits),
            score: total.score(mul_bits),
        }
    }

    /// Non-zero elements of a prunable tensor, and the bits that store them and the mask.
    fn weight(&self, elements: u128) -> (u128, u128) {
        let zero_units = (self.sparsity * SPARSITY_UNITS as f64).round() as u128;
        let nonzeros = elements - elements * zero_units.min(SPARSITY_UNITS) / SPARSITY_UNITS;
        let mask = if zero_units > 0 { elements } else { 0 };
        (nonzeros, nonzeros * u128::from(self.param_bits) + mask)
    }

    fn layer(&self, shape: LayerShape) -> Cost {
        let (rows, width) = (shape.rows() as u128, shape.output as u128);
        let (nonzeros, bits) = self.weight(rows * shape.columns() as u128);
        let gate_mults = if self.strict { width } else { 0 };
        Cost {
            bits: bits + rows * u128::from(self.param_bits),
            mults: nonzeros + 9 * width + gate_mults,
            adds: nonzeros + 6 * width,
        }
    }

    fn decoder(&self, vocab: u128, nonzeros: u128) -> Cost {
        let (softmax_mults, strict_adds) =
            if self.strict { (2 * vocab, vocab + vocab.saturating_sub(1)) } else { (0, 0) };
        Cost {
            bits: vocab * u128::from(self.param_bits),
            mults: nonzeros + vocab + softmax_mults,
            adds: nonzeros.saturating_sub(vocab) + strict_adds,
        }
    }
}

/// Exact cost of a part of the model, per token.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    bits: u128,
    mults: u128,
    adds: u128,
}

impl Cost {
    fn plus(self, other: Self) -> Self {
        Self {
            bits: self.bits + other.bits,
            mults: self.mults + other.mults,
            adds: self.adds + other.adds,
        }
    }

    fn times(self, n: u128) -> Self {
        Self { bits: self.bits * n, mults: self.mults * n, adds: self.adds * n }
    }

    /// Operations in units of 1/32: a multiplication counts `mul_bits`, an addition 32.
    fn operations_in_32nds(self, mul_bits: u32) -> u128 {
        self.mults * u128::from(mul_bits) + self.adds * u128::from(FULL_BITS)
    }

    fn row(self, op: &'static str, mul_bits: u32) -> OpRow {
        OpRow {
            op: op.into(),
            params_mbytes: self.bits as f64 / 8e6,
            mults_m: (self.mults * u128::from(mul_bits)) as f64 / 32e6,
            adds_m: self.adds as f64 / 1e6,
            mflops: self.operations_in_32nds(mul_bits) as f64 / 32e6,
        }
    }

    fn score(self, mul_bits: u32) -> f64 {
        let full_bits = f64::from(FULL_BITS);
        self.bits as f64 / full_bits / BASELINE_PARAMETERS
            + self.operations_in_32nds(mul_bits) as f64 / full_bits / BASELINE_OPERATIONS
    }
}

/// Shapes of the layers with their multiplicities; a list of all layers would fill the memory for an absurd
/// `nlayers`.
fn layer_groups(config: &LmConfig) -> Vec<(LayerShape, u128)> {
    let listed = config.layers.min(3);
    let shapes = config.clone().layers(listed).layer_shapes();
    let repeats = (config.layers - listed) as u128;
    let count = |i| if i == 1 { 1 + repeats } else { 1 };
    shapes.into_iter().enumerate().map(|(i, shape)| (shape, count(i))).collect()
}
