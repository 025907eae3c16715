//! How a model is trained: the settings of the original under their names.

use serde::{Deserialize, Serialize};

use crate::model::MAX_SIZE;
use crate::{Error, Result};

/// What turns gradients into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adam with decays 0.9 and 0.999 and epsilon 1e-8.
    Adam,
    /// Stochastic gradient descent, which turns to averaging when the validation loss has not
    /// beaten its best of more than `nonmono` epochs ago.
    Sgd,
    /// Averaged stochastic gradient descent from the first step.
    Asgd,
}

impl std::str::FromStr for OptimizerKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "adam" => Ok(Self::Adam),
            "sgd" => Ok(Self::Sgd),
            "asgd" => Ok(Self::Asgd),
            other => Err(Error::usage(
                format!("--optimizer {other}"),
                "there is no such optimizer",
                "write adam, sgd (which turns to averaging by itself) or asgd",
            )),
        }
    }
}

/// The settings of a training run.
///
/// A builder: `Recipe::paper().bptt(300).batch(40)`.
/// A field that an older config.json lacks has the paper's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Mean length of a training window, in words.
    pub bptt: usize,
    /// Every window of `bptt` words exactly, in place of drawn lengths.
    pub fixed_bptt: bool,
    /// Batches of the training text.
    pub batch: usize,
    /// Batches of the validation text.
    pub valid_batch: usize,
    /// Passes over the training text.
    pub epochs: usize,
    /// Stop after so many steps, wherever that is.
    pub steps: Option<u64>,
    /// Step size at length `bptt`.
    pub lr: f64,
    /// Epochs, counted from 1, after which the rate is divided by 10.
    pub when: Vec<usize>,
    /// Bound of the gradient's norm; 0 for none.
    pub clip: f64,
    /// Times the mean square of the last dropped output.
    pub alpha: f64,
    /// Times the mean square of the difference of successive last outputs.
    pub beta: f64,
    /// L2 weight decay.
    pub wdecay: f64,
    /// What turns gradients into steps.
    pub optimizer: OptimizerKind,
    /// Epochs without a better validation loss before descent turns to averaging.
    pub nonmono: usize,
    /// Averaged descent from a trained model, which stands as the best until beaten, and ends where
    /// descent would turn to averaging (finetune.py of awd-lstm-lm).
    pub finetune: bool,
    /// Fixes dropouts and lengths.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self::paper()
    }
}

impl Recipe {
    /// The recipe of the paper's experiment table: Adam at 1e-3, divided by 10 after epoch 12,
    /// 20 epochs, batch 60, windows of 140, clip 0.25.
    pub fn paper() -> Self {
        Self {
            bptt: 140,
            fixed_bptt: false,
            batch: 60,
            valid_batch: 10,
            epochs: 20,
            steps: None,
            lr: 1e-3,
            when: vec![12],
            clip: 0.25,
            alpha: 0.0,
            beta: 0.0,
            wdecay: 0.0,
            optimizer: OptimizerKind::Adam,
            nonmono: 5,
            finetune: false,
            seed: 1882,
        }
    }

    /// Sets the mean length of a training window.
    pub fn bptt(mut self, words: usize) -> Self {
        self.bptt = words;
        self
    }

    /// Sets the number of columns.
    pub fn batch(mut self, columns: usize) -> Self {
        self.batch = columns;
        self
    }

    /// Sets the number of passes over the text.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Sets the step size.
    pub fn lr(mut self, lr: f64) -> Self {
        self.lr = lr;
        self
    }

    /// Sets the epochs after which the rate is divided by 10.
    pub fn when(mut self, epochs: impl Into<Vec<usize>>) -> Self {
        self.when = epochs.into();
        self
    }

    /// Sets the optimizer.
    pub fn optimizer(mut self, optimizer: OptimizerKind) -> Self {
        self.optimizer = optimizer;
        self
    }

    /// Sets the seed of dropouts and lengths.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The rate of an epoch, counted from 1, at length `bptt`.
    pub fn epoch_rate(&self, epoch: usize) -> f64 {
        let divided = self.when.iter().filter(|&&after| epoch > after).count();
        self.lr / 10f64.powi(divided as i32)
    }

    /// # Errors
    /// [`Error::Usage`] naming the first setting that no run can have.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("--bptt", self.bptt),
            ("--batch-size", self.batch),
            ("the validation batch", self.valid_batch),
            ("--epochs", self.epochs),
        ];
        for (flag, size) in sizes {
            if !(1..=MAX_SIZE).contains(&size) {
                return Err(Error::usage(
                    format!("{flag} {size}"),
                    format!("must be at least 1, and at most {MAX_SIZE}"),
                    "give a number within that range",
                ));
            }
        }
        if self.finetune && self.optimizer != OptimizerKind::Asgd {
            return Err(Error::usage(
                "--finetune",
                "is done by averaged SGD",
                "leave --optimizer out, or write asgd",
            ));
        }
        if self.steps == Some(0) {
            return Err(Error::usage(
                "--steps 0",
                "must be at least 1",
                "leave it out to train all epochs",
            ));
        }
        let numbers = [
            ("--lr", self.lr),
            ("--clip", self.clip),
            ("--alpha", self.alpha),
            ("--beta", self.beta),
            ("--wdecay", self.wdecay),
        ];
        for (flag, number) in numbers {
            if !(number >= 0.0 && number.is_finite()) {
                return Err(Error::usage(
                    format!("{flag} {number}"),
                    "must be a number of at least 0",
                    "give for example the paper's value, or leave the flag out",
                ));
            }
        }
        if self.lr == 0.0 {
            return Err(Error::usage(
                "--lr 0",
                "must be a number above 0: nothing would be learned",
                "give for example 0.001",
            ));
        }
        if let Some(&late) = self.when.iter().find(|&&epoch| epoch == 0) {
            return Err(Error::usage(
                format!("--when {late}"),
                "epochs are counted from 1",
                "give the epoch after which the rate is divided by 10",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_after_each_epoch_in_when() {
        let recipe = Recipe::paper().lr(1.0).when([2, 4]);
        let rates: Vec<f64> = (1..=6).map(|epoch| recipe.epoch_rate(epoch)).collect();
        for (rate, expected) in rates.iter().zip([1.0, 1.0, 0.1, 0.1, 0.01, 0.01]) {
            assert!((rate - expected).abs() < 1e-15, "{rates:?}");
        }
    }

    #[test]
    fn impossible_settings_are_named() {
        let refused = |recipe: Recipe, flag: &str| {
            let message = recipe.check().unwrap_err().to_string();
            assert!(message.starts_with(flag), "{message}");
        };
        refused(Recipe::paper().bptt(0), "--bptt");
        refused(Recipe::paper().batch(0), "--batch-size");
        refused(Recipe::paper().batch(usize::MAX), "--batch-size");
        refused(Recipe::paper().bptt(1 << 40), "--bptt");
        refused(Recipe::paper().lr(f64::NAN), "--lr");
        refused(Recipe::paper().lr(-1.0), "--lr");
        refused(Recipe::paper().when([0]), "--when");
        refused(Recipe { clip: f64::INFINITY, ..Recipe::paper() }, "--clip");
        Recipe::paper().check().unwrap();
    }
}
