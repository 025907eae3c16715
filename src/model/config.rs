//! What a model is made of: sizes, dropouts and the split of its softmax.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Word types of WikiText-103, `<eos>` counted.
pub const WIKITEXT103_VOCAB: usize = 267_735;

/// The largest size that a model can have; products of three such sizes stay far inside `u128`.
pub(crate) const MAX_SIZE: usize = i32::MAX as usize;

/// The most layers that a model can be made of.
pub const MOST_LAYERS: usize = 10_000;

/// How the vocabulary is divided for the softmax.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Splits {
    /// As the original chooses by vocabulary: 2,800 / 20,000 / 76,000 above 75,000 words,
    /// 4,200 / 35,000 / 180,000 above 500,000, none below (main.py of awd-lstm-lm).
    #[default]
    Auto,
    /// One softmax over all words.
    None,
    /// The first word of each tail cluster, ascending.
    At(Vec<usize>),
}

impl Splits {
    /// The cluster borders for a vocabulary, without 0 and `vocab`; empty for a plain softmax.
    ///
    /// # Errors
    /// [`Error::Usage`] where the borders do not ascend or reach past the vocabulary.
    pub fn borders(&self, vocab: usize) -> Result<Vec<usize>> {
        match self {
            Self::None => Ok(vec![]),
            Self::Auto if vocab > 500_000 => Ok(vec![4_200, 35_000, 180_000]),
            Self::Auto if vocab > 75_000 => Ok(vec![2_800, 20_000, 76_000]),
            Self::Auto => Ok(vec![]),
            Self::At(borders) => {
                let ascending = borders.windows(2).all(|pair| pair[0] < pair[1]);
                let inside = borders.iter().all(|&b| 0 < b && b < vocab);
                if ascending && inside {
                    Ok(borders.clone())
                } else {
                    Err(Error::usage(
                        format!("--splits {self}"),
                        format!(
                            "the borders must ascend, all of them between 0 and the vocabulary of \
                             {vocab} words"
                        ),
                        "give smaller or ordered borders, or --splits none",
                    ))
                }
            }
        }
    }
}

impl std::fmt::Display for Splits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::At(borders) => {
                let borders: Vec<_> = borders.iter().map(usize::to_string).collect();
                f.write_str(&borders.join(","))
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
                .map(|border| border.trim().parse())
                .collect::<Result<Vec<usize>, _>>()
                .map(Self::At)
                .map_err(|_| {
                    Error::usage(
                        format!("--splits {list}"),
                        "not a list of word ids",
                        "write --splits 2800,20000,76000, --splits none or --splits auto",
                    )
                }),
        }
    }
}

/// The shape of a QRNN language model, and its dropouts.
///
/// A builder: `LmConfig::paper(300, 1800).bptt(300).layers(4)`. The defaults are those of the
/// paper's experiment table; the names are those of the original's flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmConfig {
    /// Words; a model built for a corpus takes the corpus's.
    pub vocab: usize,
    /// Width E of the embedding, and of the last layer.
    pub emsize: usize,
    /// Hidden width H of the layers below the last.
    pub nhid: usize,
    /// QRNN layers; the first has window 2, the others window 1.
    pub nlayers: usize,
    /// Words a column in one evaluation window.
    pub bptt: usize,
    /// Locked dropout after the last layer.
    pub dropout: f64,
    /// Locked dropout between layers.
    pub dropouth: f64,
    /// Locked dropout on the embedding.
    pub dropouti: f64,
    /// Dropout of whole words from the embedding.
    pub dropoute: f64,
    /// Weight drop on each layer's linear weight.
    pub wdrop: f64,
    /// Zoneout on the forget gate.
    pub zoneout: f64,
    /// Clusters of the softmax.
    pub splits: Splits,
    /// The embedding's first values lie within plus and minus this.
    #[serde(default = "original_init_range")]
    pub init_range: f64,
}

/// main.py and model.py of awd-lstm-lm.
fn original_init_range() -> f64 {
    0.1
}

impl LmConfig {
    /// A row of the paper's experiment table: 4 layers, bptt 140, locked dropouts 0.1, the rest 0.
    pub fn paper(emsize: usize, nhid: usize) -> Self {
        Self {
            vocab: WIKITEXT103_VOCAB,
            emsize,
            nhid,
            nlayers: 4,
            bptt: 140,
            dropout: 0.1,
            dropouth: 0.1,
            dropouti: 0.1,
            dropoute: 0.0,
            wdrop: 0.0,
            zoneout: 0.0,
            splits: Splits::Auto,
            init_range: original_init_range(),
        }
    }

    /// Sets the number of words.
    pub fn vocab(mut self, words: usize) -> Self {
        self.vocab = words;
        self
    }

    /// Sets the evaluation window, in words a column.
    pub fn bptt(mut self, words: usize) -> Self {
        self.bptt = words;
        self
    }

    /// Sets the number of QRNN layers.
    pub fn layers(mut self, layers: usize) -> Self {
        self.nlayers = layers;
        self
    }

    /// Sets the three locked dropouts: on the embedding, between layers, after the last.
    pub fn locked_dropouts(mut self, input: f64, hidden: f64, output: f64) -> Self {
        (self.dropouti, self.dropouth, self.dropout) = (input, hidden, output);
        self
    }

    /// Sets the dropout of whole words.
    pub fn embedding_dropout(mut self, p: f64) -> Self {
        self.dropoute = p;
        self
    }

    /// Sets the weight drop of the layers' linear maps.
    pub fn weight_drop(mut self, p: f64) -> Self {
        self.wdrop = p;
        self
    }

    /// Sets zoneout.
    pub fn zoneout(mut self, p: f64) -> Self {
        self.zoneout = p;
        self
    }

    /// Sets the clusters of the softmax.
    pub fn splits(mut self, splits: Splits) -> Self {
        self.splits = splits;
        self
    }

    /// Sets the range of the embedding's first values; 0.1 is the original's.
    pub fn init_range(mut self, range: f64) -> Self {
        self.init_range = range;
        self
    }

    /// Input width, window and output width of each layer, from the first to the last.
    pub fn layer_shapes(&self) -> Vec<LayerShape> {
        (0..self.nlayers)
            .map(|i| LayerShape {
                input: if i == 0 { self.emsize } else { self.nhid },
                window: if i == 0 { 2 } else { 1 },
                output: if i + 1 == self.nlayers { self.emsize } else { self.nhid },
            })
            .collect()
    }

    /// Parameters, without those that only the loss has.
    pub fn parameters(&self) -> u64 {
        let size = |rows: usize, columns: usize| (rows as u64).saturating_mul(columns as u64 + 1);
        let layers =
            self.layer_shapes().into_iter().map(|shape| size(shape.rows(), shape.columns()));
        layers.fold(size(self.vocab, self.emsize), u64::saturating_add)
    }

    /// Multiplications in the linear map of the largest layer, for so many words.
    pub fn layer_multiplications(&self, words: usize) -> usize {
        let weights = self.layer_shapes().into_iter().map(|shape| shape.rows() * shape.columns());
        weights.max().unwrap_or(0).saturating_mul(words)
    }

    /// The refusal of more layers than can be made one by one; counting takes any number.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(crate) fn check_layers(&self) -> Result<()> {
        if self.nlayers <= MOST_LAYERS {
            return Ok(());
        }
        Err(Error::usage(
            format!("--nlayers {}", self.nlayers),
            format!("a model has 1 to {MOST_LAYERS} layers"),
            "give for example 4",
        ))
    }

    /// # Errors
    /// [`Error::Usage`] naming the first setting that no model can have.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("--emsize", self.emsize),
            ("--nhid", self.nhid),
            ("--nlayers", self.nlayers),
            ("--bptt", self.bptt),
            ("--vocab", self.vocab),
        ];
        for (flag, size) in sizes {
            if !(1..=MAX_SIZE).contains(&size) {
                return Err(Error::usage(
                    format!("{flag} {size}"),
                    format!("must be at least 1, and at most {MAX_SIZE}"),
                    "give the size of a model that could be built",
                ));
            }
        }
        let probabilities = [
            ("--dropout", self.dropout),
            ("--dropouth", self.dropouth),
            ("--dropouti", self.dropouti),
            ("--dropoute", self.dropoute),
            ("--wdrop", self.wdrop),
            ("--zoneout", self.zoneout),
        ];
        for (flag, p) in probabilities {
            if !(0.0..1.0).contains(&p) {
                return Err(Error::usage(
                    format!("{flag} {p}"),
                    "a probability to drop lies from 0 up to, not including, 1",
                    "give 0 for none, or for example 0.1",
                ));
            }
        }
        if !(self.init_range > 0.0 && self.init_range.is_finite()) {
            return Err(Error::usage(
                format!("--init-range {}", self.init_range),
                "must be a number above 0",
                "leave it out for the original's 0.1",
            ));
        }
        self.splits.borders(self.vocab).map(drop)
    }
}

/// The sizes of one QRNN layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// Features of x_t.
    pub input: usize,
    /// 2 where the gates see x_{t-1} too, else 1.
    pub window: usize,
    /// Width H of the layer's state and output.
    pub output: usize,
}

impl LayerShape {
    /// Batches of the linear map: window × input.
    pub fn columns(&self) -> usize {
        self.window * self.input
    }

    /// Rows of the linear map: 3 H, in the order z, f, o.
    pub fn rows(&self) -> usize {
        3 * self.output
    }
}
