//! Reduction of the experiment, so that a laptop runs all of it in minutes.

use super::plan::Sizes;
use crate::format::thousands;
use crate::model::{LmConfig, Splits, WIKITEXT103_VOCAB};
use crate::paper::{self, PublishedRow, results};
use crate::train::Recipe;
use crate::{Error, Result};
use qrnn_ops::matmul::Precision;

/// Tokens of the training text, over all epochs, at the default scale.
const TRAIN_TOKENS: f64 = 400_000.0;

/// Default divisor of the widths.
pub const DEFAULT_DIVISOR: f64 = 10.0;

/// Epochs at reduced scale, and the epoch after which the learning rate is divided by 10.
const EPOCHS: usize = 4;
const WHEN: usize = 3;

/// Tokens per training step at the default scale; the same for every sequence length, so that all runs have
/// the same number of optimizer steps.
const STEP_TOKENS: f64 = 140.0;

/// Learning rate at reduced scale: narrow models and few steps need a larger one than the paper's.
const LEARNING_RATE: f64 = 2e-3;

/// Range of the initial embedding at reduced scale. With the paper's 0.1, a narrow model first learns almost
/// nothing, for a random number of steps, which would hide the differences between rows.
const INIT_RANGE: f64 = 0.5;

/// Reduction of the experiment's sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// The paper's sizes and recipe.
    Full,
    /// Widths divided by this value, sequence lengths by 0.6 times this value.
    Reduced(f64),
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

    /// Divisors of widths and of sequence lengths.
    fn divisors(self) -> [f64; 2] {
        match self {
            Self::Full => [1.0, 1.0],
            Self::Reduced(divisor) => [divisor, (0.6 * divisor).max(1.0)],
        }
    }

    /// Number of training tokens per epoch; `None` for the whole text.
    pub fn train_tokens(self) -> Option<usize> {
        match self {
            Self::Full => None,
            Self::Reduced(divisor) => {
                Some((TRAIN_TOKENS * DEFAULT_DIVISOR / divisor / EPOCHS as f64) as usize)
            }
        }
    }

    /// The reduced model and recipe, for a vocabulary of `vocab` words.
    pub(super) fn apply(self, model: &PublishedRow, vocab: usize, seed: u64) -> (LmConfig, Recipe) {
        let [emsize, nhid, length] = reduced_sizes(model, self.divisors());
        let config = LmConfig::paper(emsize, nhid).vocab(vocab).bptt(length);
        let recipe =
            Recipe::paper().bptt(length).batch(model.batch).epochs(model.epochs).seed(seed);
        let Self::Reduced(_) = self else { return (config, recipe) };

        let batch = ((self.step_tokens() / length as f64).round() as usize).max(2);
        let config = config.splits(proportional_splits(vocab)).init_range(INIT_RANGE);
        (config, recipe.batch(batch).epochs(EPOCHS).when([WHEN]).lr(LEARNING_RATE))
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
        let [widths, lengths] = self.divisors();
        let (width_divisor, length_divisor) = (Some(widths), Some(lengths));
        match self {
            Self::Full => results::Scale {
                name: "full size".into(),
                note: "the paper's sizes".into(),
                recipe: format!("the paper's; {precision}"),
                full: true,
                width_divisor,
                length_divisor,
            },
            Self::Reduced(divisor) => results::Scale {
                name: "reduced scale".into(),
                note: format!(
                    "widths ÷ {divisor}, lengths ÷ {}, steps of about {:.0} tokens at every length",
                    lengths,
                    self.step_tokens()
                ),
                recipe: format!(
                    "Adam with learning rate {LEARNING_RATE}, divided by 10 after epoch {WHEN}; {EPOCHS} \
                     epochs of the first {} training tokens; embedding initialized within \
                     ±{INIT_RANGE}; softmax split at the paper's shares of the vocabulary; clipping, \
                     dropout and random sequence lengths as in the paper; {precision}",
                    thousands(tokens as u64)
                ),
                full: false,
                width_divisor,
                length_divisor,
            },
        }
    }

    /// Tokens per training step.
    fn step_tokens(self) -> f64 {
        match self {
            Self::Full => f64::NAN,
            Self::Reduced(divisor) => STEP_TOKENS * (DEFAULT_DIVISOR / divisor).sqrt(),
        }
    }
}

/// The sizes of a model, divided as an experiment's results say.
pub(super) fn sizes(scale: &results::Scale, model: &PublishedRow) -> Sizes {
    let divisors = [scale.width_divisor, scale.length_divisor];
    reduced_sizes(model, divisors.map(|divisor| divisor.unwrap_or(1.0)))
}

/// emsize, nhid and bptt of a model whose widths and lengths are divided.
fn reduced_sizes(model: &PublishedRow, [widths, lengths]: [f64; 2]) -> Sizes {
    let width = |full: usize| ((full as f64 / widths).round() as usize).max(4);
    let length = ((model.bptt as f64 / lengths).round() as usize).max(5);
    [width(model.emsize), width(model.nhid), length]
}

/// WikiText-103's cluster borders, scaled to a smaller vocabulary. No split if the head would have fewer
/// than 20 words.
fn proportional_splits(vocab: usize) -> Splits {
    let share = |border: usize| (border as f64 / WIKITEXT103_VOCAB as f64 * vocab as f64) as usize;
    let borders: Vec<usize> = [2_800, 20_000, 76_000].map(share).into();
    if borders[0] >= 20 { Splits::At(borders) } else { Splits::None }
}
