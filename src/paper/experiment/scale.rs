//! How far an experiment is reduced, so that a laptop does all of it in minutes.

use crate::model::{LmConfig, Splits, WIKITEXT103_VOCAB};
use crate::paper;
use crate::paper::results;
use crate::train::Recipe;
use crate::{Error, Result};
use qrnn_ops::matmul::Precision;

/// Words of the training text at the default scale.
const TRAIN_TOKENS: f64 = 400_000.0;

/// The default reduction of the widths.
pub const DEFAULT_DIVISOR: f64 = 10.0;

/// Epochs at a reduced scale, and the epoch after which the rate is divided by 10.
const EPOCHS: usize = 4;
const WHEN: usize = 3;

/// Words a training step at the default scale: at every length the same, so that every run takes
/// the same number of optimizer steps.
const STEP_TOKENS: f64 = 140.0;

/// Step size at a reduced scale: few steps on a narrow model want a larger one than the paper's.
const RATE: f64 = 2e-3;

/// A narrow embedding that starts as small as the paper's wide one takes long to be heard through
/// four layers; how long is chance, and would drown what the experiment is to show.
const INIT_RANGE: f64 = 0.5;

/// What an experiment's sizes are divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// The paper's own sizes and recipe.
    Full,
    /// Widths divided by this, lengths by 0.6 times this.
    Reduced(f64),
}

impl Scale {
    /// A reduction by `divisor`.
    ///
    /// # Errors
    /// [`Error::Usage`] where it is below 1 or above 50.
    pub fn reduced(divisor: f64) -> Result<Self> {
        if (1.0..=50.0).contains(&divisor) {
            return Ok(Self::Reduced(divisor));
        }
        Err(Error::usage(
            format!("--scale {divisor}"),
            "widths can be divided by 1 to 50",
            "give for example 10, the default; smaller is larger models and longer runs",
        ))
    }

    /// The divisor of sequence lengths.
    fn length_divisor(self) -> f64 {
        match self {
            Self::Full => 1.0,
            Self::Reduced(divisor) => (0.6 * divisor).max(1.0),
        }
    }

    /// Words of training text that a run is given; `None` for all.
    pub fn train_tokens(self) -> Option<usize> {
        match self {
            Self::Full => None,
            Self::Reduced(divisor) => {
                Some((TRAIN_TOKENS * DEFAULT_DIVISOR / divisor / EPOCHS as f64) as usize)
            }
        }
    }

    /// Model and recipe of a configuration of the paper, on `vocab` words.
    pub(super) fn apply(self, case: Case, vocab: usize, seed: u64) -> (LmConfig, Recipe) {
        let length = ((case.bptt as f64 / self.length_divisor()).round() as usize).max(5);
        let config = LmConfig::paper(case.emsize, case.nhid).vocab(vocab).bptt(length);
        let recipe = Recipe::paper().bptt(length).batch(case.batch).epochs(case.epochs).seed(seed);
        let Self::Reduced(divisor) = self else { return (config, recipe) };

        let width = |full: usize| ((full as f64 / divisor).round() as usize).max(4);
        let batch = ((self.step_tokens() / length as f64).round() as usize).max(2);
        let config = LmConfig { emsize: width(case.emsize), nhid: width(case.nhid), ..config }
            .splits(proportional_splits(vocab))
            .init_range(INIT_RANGE);
        (config, recipe.batch(batch).epochs(EPOCHS).when([WHEN]).lr(RATE))
    }

    /// Multiplications of the largest layer of any row of the table, in one step.
    pub fn layer_multiplications(self) -> usize {
        let of_row = |row| {
            let (config, recipe) = self.apply(Case::of_row(row), WIKITEXT103_VOCAB, 0);
            config.layer_multiplications(recipe.bptt * recipe.batch)
        };
        paper::ROWS.iter().map(of_row).max().unwrap_or(0)
    }

    /// The scale as the report states it.
    pub(super) fn facts(self, precision: Precision) -> results::Scale {
        match self {
            Self::Full => results::Scale {
                name: "full size".into(),
                note: "the paper's sizes".into(),
                recipe: format!("the paper's; {precision}"),
                full: true,
            },
            Self::Reduced(divisor) => results::Scale {
                name: "reduced scale".into(),
                note: format!(
                    "widths ÷ {divisor}, lengths ÷ {}, steps of about {:.0} words at every length",
                    self.length_divisor(),
                    self.step_tokens()
                ),
                recipe: format!(
                    "Adam at {RATE}, divided by 10 after epoch {WHEN} of {EPOCHS}, over the first \
                     words of the text; embedding from ±{INIT_RANGE}; softmax split at the paper's \
                     shares of the vocabulary; clip, dropouts and jitter of the length as in the \
                     paper; {precision}"
                ),
                full: false,
            },
        }
    }

    /// Words a training step.
    fn step_tokens(self) -> f64 {
        match self {
            Self::Full => f64::NAN,
            Self::Reduced(divisor) => STEP_TOKENS * (DEFAULT_DIVISOR / divisor).sqrt(),
        }
    }
}

/// A configuration at the paper's size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub emsize: usize,
    pub nhid: usize,
    pub bptt: usize,
    pub batch: usize,
    pub epochs: usize,
}

impl Case {
    pub(super) fn of_row(row: &paper::Row) -> Self {
        Self {
            emsize: row.emsize,
            nhid: row.nhid,
            bptt: row.bptt,
            batch: row.batch_or_stand_in().0,
            epochs: row.epochs,
        }
    }

    /// The figure's model is not stated: the table's 300/2000 stands in.
    pub(super) fn of_length(bptt: usize) -> Self {
        Self { emsize: 300, nhid: 2000, bptt, batch: paper::STAND_IN_BATCH, epochs: 20 }
    }
}

/// WikiText-103's borders at the same shares of a smaller vocabulary, the head's at least 100.
fn proportional_splits(vocab: usize) -> Splits {
    let share = |border: usize| (border as f64 / WIKITEXT103_VOCAB as f64 * vocab as f64) as usize;
    let borders: Vec<usize> = [2_800, 20_000, 76_000].map(share).into();
    if borders[0] >= 20 { Splits::At(borders) } else { Splits::None }
}
