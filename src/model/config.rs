//! Model configuration: sizes, dropouts and softmax clusters.

use serde::{Deserialize, Serialize};

use super::splits::Splits;
use super::widths;
use crate::data::IdOrder;
use crate::{Error, Result};

/// Vocabulary size of WikiText-103, including `<eos>`.
pub const WIKITEXT103_VOCAB: usize = 267_735;

/// Maximum of all sizes. Products of three such sizes fit in `u128`.
pub(crate) const MAX_SIZE: usize = i32::MAX as usize;

/// Maximum of the initial embedding's range, far below the 1e19 at which squares of gradients overflow.
const MAX_INIT_RANGE: f64 = 1e6;

/// Maximum number of layers.
pub const MAX_LAYERS: usize = 10_000;

/// The configuration of a QRNN language model.
///
/// Every field has a setter of its name, and the setters chain: `LmConfig::paper(300, 1800).bptt(300)`.
/// Files name the fields like the flags of awd-lstm-lm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmConfig {
    /// Vocabulary size V. [`crate::model::QrnnLm::new`] uses that of the corpus.
    pub vocab: usize,
    /// Size E of the embedding and of the last layer's output.
    pub emsize: usize,
    /// Hidden size H of the other layers.
    pub nhid: usize,
    /// Number of QRNN layers. The first has window 2, the others window 1.
    #[serde(rename = "nlayers")]
    pub layers: usize,
    /// Sequence length of an evaluation window.
    pub bptt: usize,
    /// Locked dropout after the last layer.
    #[serde(rename = "dropout")]
    pub output_dropout: f64,
    /// Locked dropout between layers.
    #[serde(rename = "dropouth")]
    pub hidden_dropout: f64,
    /// Locked dropout on the embedding.
    #[serde(rename = "dropouti")]
    pub input_dropout: f64,
    /// Embedding dropout, which drops whole words.
    #[serde(rename = "dropoute")]
    pub embedding_dropout: f64,
    /// Weight drop on the linear weight of each layer.
    #[serde(rename = "wdrop")]
    pub weight_drop: f64,
    /// Zoneout on the forget gate.
    pub zoneout: f64,
    /// Clusters of the split softmax.
    pub splits: Splits,
    /// Widths of an adaptive embedding and softmax, one for each cluster: the head's tokens, then the tails. `None` for
    /// one embedding of width E, as published.
    ///
    /// Cluster k has an embedding of `widths[k]` features, and where this is less than E, a projection P (E, width): a
    /// token's input is P e, and its logit is e · Pᵀ h + b (Grave et al. 2017, arXiv 1609.04309; tied weights and
    /// projections as in Baevski and Auli 2018, arXiv 1809.10853, section 3). The corpus must have its ids by
    /// frequency ([`crate::data::Corpus::by_frequency`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widths: Option<Vec<usize>>,
    /// The embedding is initialized uniformly within ± this value.
    #[serde(default = "original_init_range")]
    pub init_range: f64,
}

/// From main.py and model.py of awd-lstm-lm.
fn original_init_range() -> f64 {
    0.1
}

impl LmConfig {
    /// A row of the paper's experiment table: 4 layers, bptt 140, locked dropouts 0.1, all else 0.
    pub fn paper(emsize: usize, nhid: usize) -> Self {
        Self {
            vocab: WIKITEXT103_VOCAB,
            emsize,
            nhid,
            layers: 4,
            bptt: 140,
            output_dropout: 0.1,
            hidden_dropout: 0.1,
            input_dropout: 0.1,
            embedding_dropout: 0.0,
            weight_drop: 0.0,
            zoneout: 0.0,
            splits: Splits::Auto,
            widths: None,
            init_range: original_init_range(),
        }
    }

    /// Sets the vocabulary size.
    pub fn vocab(mut self, size: usize) -> Self {
        self.vocab = size;
        self
    }

    /// Sets the size of the embedding and of the last layer's output.
    pub fn emsize(mut self, size: usize) -> Self {
        self.emsize = size;
        self
    }

    /// Sets the size of the other layers' outputs.
    pub fn nhid(mut self, size: usize) -> Self {
        self.nhid = size;
        self
    }

    /// Sets the number of QRNN layers.
    pub fn layers(mut self, layers: usize) -> Self {
        self.layers = layers;
        self
    }

    /// Sets the sequence length of an evaluation window.
    pub fn bptt(mut self, tokens: usize) -> Self {
        self.bptt = tokens;
        self
    }

    /// Sets the three locked dropouts.
    pub fn locked_dropouts(self, input: f64, hidden: f64, output: f64) -> Self {
        self.input_dropout(input).hidden_dropout(hidden).output_dropout(output)
    }

    /// Sets the locked dropout on the embedding.
    pub fn input_dropout(mut self, p: f64) -> Self {
        self.input_dropout = p;
        self
    }

    /// Sets the locked dropout between layers.
    pub fn hidden_dropout(mut self, p: f64) -> Self {
        self.hidden_dropout = p;
        self
    }

    /// Sets the locked dropout after the last layer.
    pub fn output_dropout(mut self, p: f64) -> Self {
        self.output_dropout = p;
        self
    }

    /// Sets the embedding dropout.
    pub fn embedding_dropout(mut self, p: f64) -> Self {
        self.embedding_dropout = p;
        self
    }

    /// Sets the weight drop on the linear weights.
    pub fn weight_drop(mut self, p: f64) -> Self {
        self.weight_drop = p;
        self
    }

    /// Sets the zoneout probability.
    pub fn zoneout(mut self, p: f64) -> Self {
        self.zoneout = p;
        self
    }

    /// Sets the clusters of the split softmax.
    pub fn splits(mut self, splits: Splits) -> Self {
        self.splits = splits;
        self
    }

    /// Sets the widths of an adaptive embedding and softmax, for example `[300, 75, 5]` with two tails.
    pub fn widths(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.widths = Some(widths.into());
        self
    }

    /// Sets the range of the embedding's initial values; awd-lstm-lm uses 0.1.
    pub fn init_range(mut self, range: f64) -> Self {
        self.init_range = range;
        self
    }

    /// The widths as `--widths` takes them, for example "300,75,5".
    pub(crate) fn widths_in_words(&self) -> Option<String> {
        self.widths.as_deref().map(widths::list)
    }

    /// The shapes of all layers, from first to last.
    pub fn layer_shapes(&self) -> Vec<LayerShape> {
        (0..self.layers)
            .map(|i| LayerShape {
                input: if i == 0 { self.emsize } else { self.nhid },
                window: if i == 0 { 2 } else { 1 },
                output: if i + 1 == self.layers { self.emsize } else { self.nhid },
            })
            .collect()
    }

    /// Number of parameters, without the cluster vectors of the split softmax.
    pub fn parameters(&self) -> u64 {
        let size = |rows: usize, columns: usize| (rows as u64).saturating_mul(columns as u64 + 1);
        let layers =
            self.layer_shapes().into_iter().map(|shape| size(shape.rows(), shape.columns()));
        let embedding = match &self.widths {
            None => size(self.vocab, self.emsize),
            Some(widths) => {
                let borders = self.splits.borders(self.vocab).unwrap_or_default();
                widths::parameters(widths, &borders, self.vocab, self.emsize)
            }
        };
        layers.fold(embedding, u64::saturating_add)
    }

    /// Multiplications in the linear map of the largest layer for this many tokens.
    pub fn layer_multiplications(&self, tokens: usize) -> usize {
        let weights = self.layer_shapes().into_iter().map(|shape| shape.rows() * shape.columns());
        weights.max().unwrap_or(0).saturating_mul(tokens)
    }

    /// Checks that token ids in this order suit the widths.
    ///
    /// # Errors
    /// [`Error::Config`] for widths and ids in order of first appearance: a cluster would not hold the words for which
    /// it has its width.
    pub fn check_ids(&self, ids: IdOrder) -> Result<()> {
        match &self.widths {
            Some(all) if ids != IdOrder::Frequency => Err(widths::other_order(all, ids)),
            _ => Ok(()),
        }
    }

    /// Checks the number of layers before a model is built. Operation counts accept any number.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn check_layers(&self) -> Result<()> {
        if self.layers <= MAX_LAYERS {
            return Ok(());
        }
        Err(Error::config(
            "config.layers",
            self.layers,
            format!("a model has 1 to {MAX_LAYERS} layers"),
            "use for example 4",
        ))
    }

    /// Checks all fields.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first invalid setting.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("config.emsize", self.emsize),
            ("config.nhid", self.nhid),
            ("config.layers", self.layers),
            ("config.bptt", self.bptt),
            ("config.vocab", self.vocab),
        ];
        for (field, size) in sizes {
            if !(1..=MAX_SIZE).contains(&size) {
                return Err(Error::config(
                    field,
                    size,
                    format!("must be at least 1, and at most {MAX_SIZE}"),
                    "use a size in this range",
                ));
            }
        }
        let probabilities = [
            ("config.output_dropout", self.output_dropout),
            ("config.hidden_dropout", self.hidden_dropout),
            ("config.input_dropout", self.input_dropout),
            ("config.embedding_dropout", self.embedding_dropout),
            ("config.weight_drop", self.weight_drop),
            ("config.zoneout", self.zoneout),
        ];
        for (field, p) in probabilities {
            if !(0.0..1.0).contains(&p) {
                return Err(Error::config(
                    field,
                    p,
                    "must be at least 0 and less than 1",
                    "use 0 to disable it, or for example 0.1",
                ));
            }
        }
        if !(self.init_range > 0.0 && self.init_range <= MAX_INIT_RANGE) {
            return Err(Error::config(
                "config.init_range",
                self.init_range,
                format!("must be greater than 0 and at most {MAX_INIT_RANGE:e}"),
                "omit it to use 0.1, as awd-lstm-lm does",
            ));
        }
        let borders = self.splits.borders(self.vocab)?;
        self.widths.as_ref().map_or(Ok(()), |all| widths::check(all, &borders, self.emsize))
    }
}

/// The shape of one QRNN layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// Features of the input x_t.
    pub input: usize,
    /// 2 if the gates also depend on x_{t-1}, otherwise 1.
    pub window: usize,
    /// Size H of the state and output.
    pub output: usize,
}

impl LayerShape {
    /// Columns of the linear weight: window × input.
    pub fn columns(&self) -> usize {
        self.window * self.input
    }

    /// Rows of the linear weight: 3 H, in the order z, f, o.
    pub fn rows(&self) -> usize {
        3 * self.output
    }
}
