//! Reduction of the experiment, so that a laptop runs all of it in minutes.

use crate::data::{Corpus, SyntheticConfig};
use crate::format::thousands;
use crate::model::{LmConfig, Splits, WIKITEXT103_VOCAB};
use crate::paper::{self, PublishedRow, results};
use crate::train::{self, Recipe};
use crate::{Error, Result};
use qrnn_ops::matmul::Precision;

/// Default divisor of the widths.
pub const DEFAULT_DIVISOR: f64 = 10.0;

/// Models whose widths are divided by at least this are trained with one thread each: they are too small to
/// gain from a second, and synchronizing threads is slow on a busy machine.
const ONE_THREAD_DIVISOR: f64 = 4.0;

/// Range of the initial embedding at reduced scale. With the paper's 0.1, a narrow model first learns almost
/// nothing, for a random number of steps, which would hide the differences between rows.
const INIT_RANGE: f64 = 0.5;

/// Tokens of a training step at the default scale, the same for every sequence length.
///
/// With 140 and a rate of 2e-3, runs ended where the loss still fell steeply: one that had learned a hundred steps
/// later than others ended out of line (docs/experiments/README.md).
const STEP_TOKENS: f64 = 210.0;

/// Tokens of the validation and of the test text of [`Scale::Medium`].
const MEDIUM_TEST_TOKENS: usize = 50_000;

/// Reduction of the experiment's sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// The paper's sizes and recipe.
    Full,
    /// Two layers of small models that are trained for long, with as many batch columns at every length, as in the paper;
    /// a quarter of an hour per seed on two cores. On real text it shows the published order of widths and lengths.
    Medium,
    /// Widths divided by this value, sequence lengths by 0.6 times this value; minutes.
    Reduced(f64),
}

/// Sizes and recipe of a reduced experiment.
struct Reduction {
    divisors: Divisors,
    /// Number of layers; `None` for the paper's.
    layers: Option<usize>,
    columns: Columns,
    /// Tokens of the training text.
    tokens: usize,
    epochs: usize,
    /// The epoch after which the learning rate is divided by 10.
    when: usize,
    lr: f64,
    /// Probability of the three locked dropouts; `None` for the paper's.
    dropout: Option<f64>,
    /// Steps between log lines.
    log_every: u64,
}

/// Divisors of the published sizes.
#[derive(Clone, Copy)]
struct Divisors {
    emsize: f64,
    nhid: f64,
    bptt: f64,
}

/// Batch columns of the training runs.
#[derive(Clone, Copy)]
enum Columns {
    /// The same at every length, as in the paper: longer windows take fewer and larger steps.
    Fixed(usize),
    /// As many as give steps of this number of tokens at every length.
    StepTokens(f64),
}

impl Columns {
    fn at(self, length: usize) -> usize {
        match self {
            Self::Fixed(columns) => columns,
            Self::StepTokens(tokens) => ((tokens / length as f64).round() as usize).max(2),
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Fixed(columns) => format!("{columns} batch columns at every length"),
            Self::StepTokens(tokens) => {
                format!("steps of about {tokens:.0} tokens at every length")
            }
        }
    }
}

impl Scale {
    /// Reduction by `divisor`.
    ///
    /// # Errors
    /// [`Error::Config`] if `divisor` is below 1 or above 50.
    pub fn reduced(divisor: f64) -> Result<Self> {
        if (1.0..=50.0).contains(&divisor) {
            return Ok(Self::Reduced(divisor));
        }
        Err(Error::config(
            "experiment.scale",
            divisor,
            "widths can be divided by 1 to 50",
            "give for example 10, the default; a smaller divisor means larger models and longer runs",
        ))
    }

    /// Sizes and recipe; `None` at full size.
    fn reduction(self) -> Option<Reduction> {
        match self {
            Self::Full => None,
            Self::Medium => Some(Reduction {
                divisors: Divisors { emsize: 5.0, nhid: 50.0, bptt: 6.0 },
                layers: Some(2),
                columns: Columns::Fixed(6),
                tokens: 1_500_000,
                epochs: 6,
                when: 3,
                lr: 4e-3,
                // These models are far too small to overfit: dropout costs perplexity, and makes runs of one model
                // differ by more (docs/experiments/README.md).
                dropout: Some(0.0),
                log_every: 500,
            }),
            Self::Reduced(divisor) => Some(Reduction {
                divisors: Divisors {
                    emsize: divisor,
                    nhid: divisor,
                    bptt: (0.6 * divisor).max(1.0),
                },
                layers: None,
                columns: Columns::StepTokens(STEP_TOKENS * (DEFAULT_DIVISOR / divisor).sqrt()),
                tokens: (100_000.0 * DEFAULT_DIVISOR / divisor) as usize,
                epochs: 4,
                when: 3,
                lr: 4e-3,
                dropout: None,
                log_every: train::LOG_EVERY,
            }),
        }
    }

    /// Divisors of the sizes, 1 at full size.
    fn divisors(self) -> Divisors {
        let full = Divisors { emsize: 1.0, nhid: 1.0, bptt: 1.0 };
        self.reduction().map_or(full, |reduction| reduction.divisors)
    }

    /// The embedded language with as much text as this scale trains on.
    pub fn embedded_text(self) -> Corpus {
        match self {
            Self::Medium => Corpus::synthetic_with(&SyntheticConfig {
                train_tokens: self.train_tokens().unwrap_or_default(),
                valid_tokens: MEDIUM_TEST_TOKENS,
                test_tokens: MEDIUM_TEST_TOKENS,
                ..SyntheticConfig::default()
            }),
            Self::Full | Self::Reduced(_) => Corpus::synthetic(),
        }
    }

    /// Number of training tokens per epoch; `None` for the whole text.
    pub fn train_tokens(self) -> Option<usize> {
        self.reduction().map(|reduction| reduction.tokens)
    }

    /// Number of steps between log lines.
    pub(super) fn log_every(self) -> u64 {
        self.reduction().map_or(train::LOG_EVERY, |reduction| reduction.log_every)
    }

    /// Whether the models are too narrow for a GPU, or for several threads, to be faster.
    pub fn has_small_models(self) -> bool {
        self.divisors().nhid >= ONE_THREAD_DIVISOR
    }

    /// The reduced model and recipe, for a vocabulary of `vocab` words.
    pub(super) fn apply(self, model: &PublishedRow, vocab: usize, seed: u64) -> (LmConfig, Recipe) {
        let [emsize, nhid, length] = self.divisors().reduce(model);
        let config = LmConfig::paper(emsize, nhid).vocab(vocab).bptt(length);
        let recipe =
            Recipe::paper().bptt(length).batch(model.batch).epochs(model.epochs).seed(seed);
        let Some(reduction) = self.reduction() else { return (config, recipe) };
        let Reduction { layers, columns, epochs, when, lr, dropout, .. } = reduction;
        let layers = layers.unwrap_or(config.layers);
        let mut config =
            config.layers(layers).splits(proportional_splits(vocab)).init_range(INIT_RANGE);
        if let Some(p) = dropout {
            config = config.locked_dropouts(p, p, p);
        }
        (config, recipe.batch(columns.at(length)).epochs(epochs).when([when]).lr(lr))
    }

    /// Multiplications in one step of the largest layer of any row.
    pub fn layer_multiplications(self) -> usize {
        let of_row = |row: &paper::Row| {
            let (config, recipe) = self.apply(&row.published, WIKITEXT103_VOCAB, 0);
            config.layer_multiplications(recipe.bptt * recipe.batch)
        };
        paper::ROWS.iter().map(of_row).max().unwrap_or(0)
    }

    /// Describes the scale for the report; `tokens` is the length of the training text.
    pub(super) fn describe(self, precision: Precision, tokens: usize) -> results::Scale {
        let divisors = self.divisors();
        let described = results::Scale {
            name: "full size".into(),
            note: "the paper's sizes".into(),
            recipe: format!("the paper's; {precision}"),
            full: true,
            width_divisor: Some(divisors.nhid),
            embedding_divisor: (divisors.emsize != divisors.nhid).then_some(divisors.emsize),
            length_divisor: Some(divisors.bptt),
        };
        let Some(Reduction { layers, columns, epochs, when, lr, dropout, .. }) = self.reduction()
        else {
            return described;
        };
        let widths = match described.embedding_divisor {
            Some(emsize) => format!("emsize ÷ {emsize}, nhid ÷ {}", divisors.nhid),
            None => format!("widths ÷ {}", divisors.nhid),
        };
        let layers =
            layers.map_or_else(String::new, |layers| format!(", {layers} of the 4 layers"));
        let dropout = match dropout {
            None => "clipping, dropout and random sequence lengths as in the paper".to_owned(),
            Some(p) => {
                format!("locked dropouts {p}; clipping and random sequence lengths as in the paper")
            }
        };
        results::Scale {
            name: if self == Self::Medium { "medium scale" } else { "reduced scale" }.into(),
            note: format!("{widths}, lengths ÷ {}{layers}, {}", divisors.bptt, columns.describe()),
            recipe: format!(
                "Adam with learning rate {lr}, divided by 10 after epoch {when}; {epochs} epochs of the first {} \
                 training tokens; embedding initialized within ±{INIT_RANGE}; softmax split at the paper's \
                 shares of the vocabulary; {dropout}; {precision}",
                thousands(tokens as u64)
            ),
            full: false,
            ..described
        }
    }
}

/// The sizes that distinguish the models of an experiment: emsize, nhid and bptt.
pub(super) type Sizes = [usize; 3];

/// The sizes of a model, divided as an experiment's results say.
pub(super) fn sizes(scale: &results::Scale, model: &PublishedRow) -> Sizes {
    let nhid = scale.width_divisor.unwrap_or(1.0);
    let emsize = scale.embedding_divisor.unwrap_or(nhid);
    Divisors { emsize, nhid, bptt: scale.length_divisor.unwrap_or(1.0) }.reduce(model)
}

impl Divisors {
    /// The divided sizes of a model.
    fn reduce(self, model: &PublishedRow) -> Sizes {
        let divide = |full: usize, divisor: f64| (full as f64 / divisor).round() as usize;
        let [emsize, nhid] = [divide(model.emsize, self.emsize), divide(model.nhid, self.nhid)]
            .map(|width| width.max(4));
        [emsize, nhid, divide(model.bptt, self.bptt).max(5)]
    }
}

/// WikiText-103's cluster borders, scaled to a smaller vocabulary. No split if the head would have fewer
/// than 20 words.
fn proportional_splits(vocab: usize) -> Splits {
    let share = |border: usize| (border as f64 / WIKITEXT103_VOCAB as f64 * vocab as f64) as usize;
    let borders: Vec<usize> = [2_800, 20_000, 76_000].map(share).into();
    if borders[0] >= 20 { Splits::At(borders) } else { Splits::None }
}
