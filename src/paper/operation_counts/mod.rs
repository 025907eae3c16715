//! Parameters and operations for one word, as the MicroNet Challenge scores them.
//!
//! [`count_ops`] gives the published count; [`OpCounter`] also counts what that leaves out
//! ([`OpCounter::strict`]), pruned tensors and other bit widths.
//!
//! With V words, E the embedding's width, and layers of C inputs (window × input width) and H
//! outputs, the published count is
//!
//! | part | parameters | multiplications | additions |
//! | --- | --- | --- | --- |
//! | embedding | V·E | 0 | 0 |
//! | QRNN layer | C·3H + 3H | C·3H + 9H | C·3H + 6H |
//! | decoder (tied) | V | V·E + V | V·(E - 1) |
//!
//! A QRNN layer's 9H and 6H are one tanh (3 multiplications and 2 additions a unit), two sigmoids
//! (2 and 1 each) and pooling (2 and 2); its C·3H additions are (C - 1)·3H of the product and 3H of
//! the bias. The decoder's V multiplications stand for the final maximum over the vocabulary. The
//! whole vocabulary is decoded, however training splits its softmax.

mod table;
#[cfg(test)]
mod tests;

pub use table::{OpRow, OpTable, compare_with_published, compare_with_published_html};

use crate::model::{LayerShape, LmConfig, MAX_SIZE};
use crate::{Error, Result};

/// Storage of the challenge's baseline, in 32-bit parameters.
pub const BASELINE_PARAMETERS: f64 = 159e6;

/// Operations of the challenge's baseline.
pub const BASELINE_OPERATIONS: f64 = 318e6;

/// Width of an activation under the challenge's free 16-bit rule.
const ACTIVATION_BITS: u32 = 16;

/// Width at which an operation or a parameter counts as one.
const WHOLE_BITS: u32 = 32;

/// Sparsity is held in parts of this, so that counting stays in integers.
const SPARSITY_PARTS: u128 = 1_000_000_000;

/// The published count of a model.
///
/// Never fails: sizes beyond 2^31 - 1 count as that; [`OpCounter::count`] refuses them instead.
pub fn count_ops(config: &LmConfig) -> OpTable {
    OpCounter::new().tally(config)
}

/// What to count and at which width.
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
    /// The published count: 16 bits, dense.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also counts what the published table leaves out: the product o·c (H multiplications a
    /// layer), the decoder's bias (V additions) and the softmax over V words (an exponential and a
    /// division as one multiplication each a word, V - 1 additions for the sum).
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Bits of a stored parameter, 1 to 32.
    pub fn param_bits(mut self, bits: u32) -> Self {
        self.param_bits = bits;
        self
    }

    /// Bits of a multiplication, 1 to 32. Unset it is the wider of its factors: a parameter and a
    /// 16-bit activation.
    pub fn mul_bits(mut self, bits: u32) -> Self {
        self.mul_bits = Some(bits);
        self
    }

    /// The part of the embedding and of each linear weight that is zero, from 0 up to, not
    /// including, 1.
    ///
    /// A pruned tensor costs its non-zeros and one bit an element for the mask; at 0 there is no
    /// mask. Biases stay whole.
    pub fn sparsity(mut self, zeros: f64) -> Self {
        self.sparsity = zeros;
        self
    }

    /// Counts one word through the model.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings or sizes that no model can have.
    pub fn count(&self, config: &LmConfig) -> Result<OpTable> {
        self.check()?;
        config.check()?;
        let table = self.tally(config);
        if table.parameters == u64::MAX {
            return Err(Error::usage(
                "--emsize, --nhid, --nlayers and --vocab",
                "together give more parameters than 64 bits can count",
                "give the sizes of a model that could be built",
            ));
        }
        Ok(table)
    }

    fn check(&self) -> Result<()> {
        for (flag, bits) in [("--param-bits", Some(self.param_bits)), ("mul_bits", self.mul_bits)] {
            if let Some(bits) = bits.filter(|bits| !(1..=WHOLE_BITS).contains(bits)) {
                return Err(Error::usage(
                    format!("{flag} {bits}"),
                    "a width lies from 1 to 32 bits",
                    "give for example 8, 16 or 32",
                ));
            }
        }
        if !(0.0..1.0).contains(&self.sparsity) {
            return Err(Error::usage(
                format!("--sparsity {}", self.sparsity),
                "the part of zeros lies from 0 up to, not including, 1",
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
            nlayers: clamp(config.nlayers),
            ..config.clone()
        };
        let (vocab, emsize) = (config.vocab as u128, config.emsize as u128);
        let encoder = self.weight(vocab * emsize);

        let embedding = Cost { bits: encoder.bits, mults: 0, adds: 0 };
        let mut qrnn = Cost::default();
        let mut parameters = vocab * emsize + vocab;
        for (shape, layers) in layer_groups(&config) {
            qrnn = qrnn.plus(self.layer(shape).times(layers));
            parameters += layers * (shape.rows() as u128) * (shape.columns() as u128 + 1);
        }
        let decoder = self.decoder(vocab, encoder.kept);
        let total = embedding.plus(qrnn).plus(decoder);

        let mul_bits = self.mul_bits.unwrap_or(self.param_bits.max(ACTIVATION_BITS));
        let row = |op, cost: Cost| cost.row(op, mul_bits);
        let clusters = config.splits.borders(config.vocab).map_or(0, |borders| borders.len());
        OpTable {
            parameters: u64::try_from(parameters).unwrap_or(u64::MAX),
            criterion_parameters: clusters as u64 * (config.emsize as u64 + 1),
            rows: vec![
                row("embedding", embedding),
                row("block_qrnn", qrnn),
                row("block_decoder", decoder),
            ],
            total: row("total", total),
            score: total.score(mul_bits),
        }
    }

    /// Storage of a prunable tensor.
    fn weight(&self, elements: u128) -> Weight {
        let zero_parts = (self.sparsity * SPARSITY_PARTS as f64).round() as u128;
        let kept = elements - elements * zero_parts.min(SPARSITY_PARTS) / SPARSITY_PARTS;
        let mask = if zero_parts > 0 { elements } else { 0 };
        Weight { kept, bits: kept * u128::from(self.param_bits) + mask }
    }

    fn layer(&self, shape: LayerShape) -> Cost {
        let (rows, width) = (shape.rows() as u128, shape.output as u128);
        let linear = self.weight(rows * shape.columns() as u128);
        let gated = if self.strict { width } else { 0 };
        Cost {
            bits: linear.bits + rows * u128::from(self.param_bits),
            mults: linear.kept + 9 * width + gated,
            adds: linear.kept + 6 * width,
        }
    }

    fn decoder(&self, vocab: u128, kept: u128) -> Cost {
        let (softmax_mults, strict_adds) =
            if self.strict { (2 * vocab, vocab + vocab.saturating_sub(1)) } else { (0, 0) };
        Cost {
            bits: vocab * u128::from(self.param_bits),
            mults: kept + vocab + softmax_mults,
            adds: kept.saturating_sub(vocab) + strict_adds,
        }
    }
}

/// A prunable tensor: its non-zeros, and the bits that store them and their places.
struct Weight {
    kept: u128,
    bits: u128,
}

/// What one part of the model costs, exactly.
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

    /// Operations in 32nds, multiplications at their width and additions whole.
    fn operations_in_32nds(self, mul_bits: u32) -> u128 {
        self.mults * u128::from(mul_bits) + self.adds * u128::from(WHOLE_BITS)
    }

    fn row(self, op: &str, mul_bits: u32) -> OpRow {
        OpRow {
            op: op.into(),
            params_mbytes: self.bits as f64 / 8e6,
            mults_m: (self.mults * u128::from(mul_bits)) as f64 / 32e6,
            adds_m: self.adds as f64 / 1e6,
            mflops: self.operations_in_32nds(mul_bits) as f64 / 32e6,
        }
    }

    fn score(self, mul_bits: u32) -> f64 {
        let whole = f64::from(WHOLE_BITS);
        self.bits as f64 / whole / BASELINE_PARAMETERS
            + self.operations_in_32nds(mul_bits) as f64 / whole / BASELINE_OPERATIONS
    }
}

/// The layers by shape, each with their number: listing them one by one would fill the memory
/// where `nlayers` is absurd.
fn layer_groups(config: &LmConfig) -> Vec<(LayerShape, u128)> {
    let listed = config.nlayers.min(3);
    let shapes = config.clone().layers(listed).layer_shapes();
    let repeats = (config.nlayers - listed) as u128;
    let count = |i| if i == 1 { 1 + repeats } else { 1 };
    shapes.into_iter().enumerate().map(|(i, shape)| (shape, count(i))).collect()
}
