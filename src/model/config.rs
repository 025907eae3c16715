//! Model configuration: sizes, dropouts and softmax clusters.

use std::iter;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Vocabulary size of WikiText-103, including `<eos>`.
pub const WIKITEXT103_VOCAB: usize = 267_735;

/// Maximum of all sizes. Products of three such sizes fit in `u128`.
pub(crate) const MAX_SIZE: usize = i32::MAX as usize;

/// Maximum of the initial embedding's range, far below the 1e19 at which squares of gradients overflow.
const MAX_INIT_RANGE: f64 = 1e6;

/// Maximum number of layers.
pub const MAX_LAYERS: usize = 10_000;

/// The clusters of the split softmax.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Splits {
    /// Chosen by vocabulary size as in main.py of awd-lstm-lm: 2,800 / 20,000 / 76,000 above 75,000
    /// words, 4,200 / 35,000 / 180,000 above 500,000, otherwise none.
    #[default]
    Auto,
    /// One softmax over all words.
    None,
    /// The first token id of each tail cluster, ascending.
    At(Vec<usize>),
}

impl Splits {
    /// The cluster boundaries for a vocabulary size, without 0 and `vocab`; empty for a plain softmax.
    ///
    /// # Errors
    /// [`Error::Config`] if the boundaries do not ascend from 1 or exceed the vocabulary.
    pub fn borders(&self, vocab: usize) -> Result<Vec<usize>> {
        match self {
            Self::None => Ok(vec![]),
            Self::Auto if vocab > 500_000 => Ok(vec![4_200, 35_000, 180_000]),
            Self::Auto if vocab > 75_000 => Ok(vec![2_800, 20_000, 76_000]),
            Self::Auto => Ok(vec![]),
            Self::At(boundaries) => {
                let problem = if !iter::once(&0).chain(boundaries).is_sorted_by(|a, b| a < b) {
                    "the boundaries must ascend and be at least 1".to_owned()
                } else if boundaries.iter().any(|&boundary| boundary >= vocab) {
                    format!("the boundaries must be below the vocabulary size {vocab}")
                } else {
                    return Ok(boundaries.clone());
                };
                let remedy = "use smaller boundaries in ascending order, or none";
                Err(Error::config("config.splits", self, problem, remedy))
            }
        }
    }
}

impl std::fmt::Display for Splits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::At(boundaries) => {
                let boundaries: Vec<_> = boundaries.iter().map(usize::to_string).collect();
                f.write_str(&boundaries.join(","))
            }
        }
    }
}

impl std::str::FromStr for Splits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            list => list
                .split(',')
                .map(|boundary| boundary.trim().parse())
                .collect::<Result<Vec<usize>, _>>()
                .map(Self::At)
                .map_err(|_| {
                    Error::config(
                        "clusters",
                        list,
                        "is not a list of token ids",
                        "use for example 2800,20000,76000, or none, or auto",
                    )
                }),
        }
    }
}

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
    /// Embedding width of each cluster, for an adaptive embedding.
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

    /// Sets the embedding width of each cluster.
    pub fn widths(mut self, widths: impl Into<Vec<usize>>) -> Self {
        self.widths = Some(widths.into());
        self
    }

    /// Sets the range of the embedding's initial values; awd-lstm-lm uses 0.1.
    pub fn init_range(mut self, range: f64) -> Self {
        self.init_range = range;
        self
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
        layers.fold(size(self.vocab, self.emsize), u64::saturating_add)
    }

    /// Multiplications in the linear map of the largest layer for this many tokens.
    pub fn layer_multiplications(&self, tokens: usize) -> usize {
        let weights = self.layer_shapes().into_iter().map(|shape| shape.rows() * shape.columns());
        weights.max().unwrap_or(0).saturating_mul(tokens)
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
        self.splits.borders(self.vocab).map(drop)
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
