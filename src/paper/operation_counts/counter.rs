//! Counts with settings.

use super::ledger::{FULL_BITS, Ledger, Sums};
use super::model_size::ModelSize;
use super::published::{Published, layer_groups};
use super::rules;
use super::table::{OpRow, OpTable};
use crate::compress::{CompressedLm, Plan};
use crate::model::{LmConfig, MAX_SIZE};
use crate::packed::TensorSize;
use crate::{Error, Result};

/// Bits of an activation in the published count, and of everything by the rules if nothing is quantized.
const FREE_BITS: u32 = 16;

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
/// let table = OpCounter::rules().sparsity(0.5).count(&LmConfig::paper(300, 1800))?;
/// assert!(table.score < 0.823);
/// # Ok::<(), qrnn::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OpCounter {
    rules: bool,
    param_bits: Option<u32>,
    mul_bits: Option<u32>,
    activation_bits: Option<u32>,
    sparsity: f64,
    cache: Option<usize>,
    proved: bool,
}

impl OpCounter {
    /// Settings of the published count: 16-bit parameters, no sparsity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts by the rules of the challenge, which also count what the published table omits: the product o·c,
    /// biases, the softmax, masks, scales, and numbers in floating point at 32 bits once anything is quantized.
    pub fn rules() -> Self {
        Self { rules: true, ..Self::default() }
    }

    /// [`OpCounter::rules`] if `strict`.
    pub fn strict(mut self, strict: bool) -> Self {
        self.rules = strict;
        self
    }

    /// Bits of a stored weight, 1 to 32; 16 by default. By the rules, weights of fewer than 16 bits are integers: a
    /// tensor then has a scale, or one per row in the layers, and the biases of the layers have 32 bits.
    pub fn param_bits(mut self, bits: u32) -> Self {
        self.param_bits = Some(bits);
        self
    }

    /// Bits of a multiplication in the published count, 1 to 32. The default is the wider of its factors: a
    /// parameter and an activation.
    pub fn mul_bits(mut self, bits: u32) -> Self {
        self.mul_bits = Some(bits);
        self
    }

    /// Bits of the activations that are factors of products, 1 to 32. By default they are not quantized: the
    /// published count takes 16 bits, and so do the rules if nothing else is quantized, otherwise 32.
    pub fn activation_bits(mut self, bits: u32) -> Self {
        self.activation_bits = Some(bits);
        self
    }

    /// Fraction of zeros in the embedding and in each linear weight, at least 0 and below 1.
    ///
    /// A pruned tensor stores its non-zero elements and a mask of one bit per element; at 0 there is no
    /// mask. By the rules it is stored dense where that takes fewer bits. Biases are not pruned.
    pub fn sparsity(mut self, zeros: f64) -> Self {
        self.sparsity = zeros;
        self
    }

    /// Counts a neural cache of this many tokens, by the rules; 0 for none.
    pub fn cache(mut self, tokens: usize) -> Self {
        self.cache = Some(tokens).filter(|&tokens| tokens > 0);
        self
    }

    /// Counts each sum of a product at the fewest bits that it provably fits in, by the rules: codes and 8-bit
    /// activations bound it. Only a stored model has codes.
    pub fn proved_accumulators(mut self) -> Self {
        self.proved = true;
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

    /// Counts a model as it will be stored once it is compressed by a plan, by the rules.
    ///
    /// # Errors
    /// [`Error::Config`] for invalid settings, or a plan that does not fit the model.
    pub fn count_plan(&self, config: &LmConfig, plan: &Plan) -> Result<OpTable> {
        config.check()?;
        let model = ModelSize::planned(config, plan)?;
        self.count_size(config, &model)
    }

    /// Counts a compressed model from its stored tensors, by the rules.
    ///
    /// # Errors
    /// [`Error::Config`] for invalid settings; [`Error::Mismatch`] if a tensor is missing.
    pub fn count_compressed(&self, model: &CompressedLm) -> Result<OpTable> {
        let size = ModelSize::stored(model.file(), model.metadata())?;
        self.count_size(model.model().config(), &size)
    }

    /// Counts a model whose tensors have the given sizes, by the rules.
    ///
    /// # Errors
    /// [`Error::Config`] for invalid settings.
    pub fn count_size(&self, config: &LmConfig, model: &ModelSize) -> Result<OpTable> {
        self.check()?;
        let model = ModelSize { cache: self.cache.or(model.cache), ..model.clone() };
        Ok(table(config, &rules::ledger(&model, self.proved)))
    }

    fn check(&self) -> Result<()> {
        let widths = [
            ("counter.param_bits", self.param_bits),
            ("counter.mul_bits", self.mul_bits),
            ("counter.activation_bits", self.activation_bits),
        ];
        for (field, bits) in widths {
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
        if let (Some(bits), true) = (self.mul_bits, self.rules) {
            return Err(Error::config(
                "counter.mul_bits",
                bits,
                "is of the published count: the rules take the wider factor of a product",
                "set counter.param_bits and counter.activation_bits",
            ));
        }
        if let (Some(tokens), false) = (self.cache, self.rules) {
            return Err(Error::config(
                "counter.cache",
                tokens,
                "is counted only by the rules",
                "count with `OpCounter::rules`",
            ));
        }
        Ok(())
    }

    pub(super) fn tally(&self, config: &LmConfig) -> OpTable {
        let clamp = |size: usize| size.min(MAX_SIZE);
        let config = LmConfig {
            vocab: clamp(config.vocab),
            emsize: clamp(config.emsize),
            nhid: clamp(config.nhid),
            layers: clamp(config.layers),
            ..config.clone()
        };
        let ledger = if self.rules {
            rules::ledger(&self.declared(&config), self.proved)
        } else {
            let param_bits = self.param_bits.unwrap_or(FREE_BITS);
            let factor_bits = param_bits.max(self.activation_bits.unwrap_or(FREE_BITS));
            let mul_bits = self.mul_bits.unwrap_or(factor_bits);
            Published { param_bits, mul_bits, sparsity: self.sparsity }.ledger(&config)
        };
        let mut table = table(&config, &ledger);
        if !self.rules {
            (table.ledger, table.parameters_32, table.operations) = (vec![], None, None);
        }
        table
    }

    /// The model that these settings declare.
    fn declared(&self, config: &LmConfig) -> ModelSize {
        let activation_bits = self.activation_bits.filter(|&bits| bits < FREE_BITS);
        let is_free =
            activation_bits.is_none() && self.param_bits.is_none_or(|bits| bits >= FREE_BITS);
        let float_bits = if is_free { self.param_bits.unwrap_or(FREE_BITS) } else { FULL_BITS };
        let bits = self.param_bits.unwrap_or(float_bits);
        let size = |name: &str, shape: &[usize]| -> Result<_, std::convert::Infallible> {
            let scales = match bits < FREE_BITS {
                false => 0,
                true if name.starts_with("rnns.") => shape[0] as u128,
                true => 1,
            };
            let is_pruned = name.starts_with("encoder.") || name.starts_with("rnns.");
            let zeros = if is_pruned { self.sparsity } else { 0.0 };
            Ok(TensorSize::declared(shape, zeros, bits, scales, 1))
        };
        let Ok(mut model) = ModelSize::new(config, layer_groups(config), float_bits, size);
        (model.activation_bits, model.cache) = (activation_bits, self.cache);
        model
    }
}

/// The table of a ledger.
fn table(config: &LmConfig, ledger: &Ledger) -> OpTable {
    let rows =
        ledger.parts().into_iter().map(|part| OpRow::new(part.name(), ledger.sums(Some(part))));
    let total: Sums = ledger.sums(None);
    let clusters = config.splits.borders(config.vocab).map_or(0, |borders| borders.len());
    OpTable {
        parameters: parameters(config),
        criterion_parameters: clusters as u64 * (config.emsize as u64 + 1),
        rows: rows.collect(),
        total: OpRow::new("total", total),
        score: total.score(),
        parameters_32: Some(total.parameters()),
        operations: Some(total.operations()),
        ledger: ledger.items(),
    }
}

/// Number of parameters without the tombstones; `u64::MAX` if there are more.
fn parameters(config: &LmConfig) -> u64 {
    let embedding = match &config.widths {
        None => config.vocab as u128 * config.emsize as u128,
        Some(_) => {
            let elements = |_: &str, shape: &[usize]| -> Result<_, std::convert::Infallible> {
                Ok(TensorSize::float(shape))
            };
            let Ok(model) = ModelSize::new(config, vec![], FULL_BITS, elements);
            let tensors = model.clusters.iter().flat_map(|cluster| {
                [Some(&cluster.weight), cluster.projection.as_ref()].into_iter().flatten()
            });
            tensors.map(TensorSize::elements).sum()
        }
    };
    let layers = layer_groups(config)
        .into_iter()
        .map(|(shape, layers)| layers * (shape.rows() as u128) * (shape.columns() as u128 + 1));
    let all = embedding + config.vocab as u128 + layers.sum::<u128>();
    u64::try_from(all).unwrap_or(u64::MAX)
}
