//! Training settings, with the names of awd-lstm-lm's flags.

use serde::{Deserialize, Serialize};

use crate::model::MAX_SIZE;
use crate::{Error, Result};

/// The optimization algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adam with betas (0.9, 0.999) and epsilon 1e-8.
    Adam,
    /// Stochastic gradient descent; switches to averaged SGD when the validation loss is worse than the
    /// best of more than `nonmono` epochs ago.
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
            other => Err(Error::config(
                "optimizer",
                other,
                "there is no such optimizer",
                "use adam, sgd (which switches to averaged SGD when validation stalls) or asgd",
            )),
        }
    }
}

/// The settings of a training run.
///
/// Every field has a setter of its name, and the setters chain: `Recipe::paper().bptt(300).batch(40)`. A field that an older config.json lacks gets
/// the paper's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Mean sequence length of a training step, in tokens.
    pub bptt: usize,
    /// Whether every step has exactly `bptt` tokens instead of a random length.
    pub fixed_bptt: bool,
    /// Training batch size: the number of parallel token streams.
    pub batch: usize,
    /// Validation batch size.
    pub valid_batch: usize,
    /// Passes over the training text.
    pub epochs: usize,
    /// Maximum number of steps; `None` to train all epochs.
    pub steps: Option<u64>,
    /// Learning rate of a step of `bptt` tokens.
    pub lr: f64,
    /// Epochs, counted from 1, after which the learning rate is divided by 10.
    pub when: Vec<usize>,
    /// Maximum gradient norm; 0 disables clipping.
    pub clip: f64,
    /// Coefficient of activation regularization (AR): mean square of the last layer's output after dropout.
    pub alpha: f64,
    /// Coefficient of temporal activation regularization (TAR): mean square of the difference of the last
    /// layer's outputs at successive time steps.
    pub beta: f64,
    /// Weight decay (L2 penalty).
    pub wdecay: f64,
    /// Optimization algorithm.
    pub optimizer: OptimizerKind,
    /// Epochs without a better validation loss before SGD switches to averaging.
    pub nonmono: usize,
    /// Finetune a trained model with averaged SGD (finetune.py of awd-lstm-lm). The initial model is the
    /// best until an epoch improves on it; training ends where SGD would switch to averaging.
    pub finetune: bool,
    /// Seed of dropout masks and sequence lengths.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self::paper()
    }
}

impl Recipe {
    /// Recipe of the paper's experiment table: Adam, learning rate 1e-3, divided by 10 after epoch 12,
    /// 20 epochs, batch size 60, bptt 140, clip 0.25.
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

    /// Sets the mean sequence length of a training step, in tokens.
    pub fn bptt(mut self, tokens: usize) -> Self {
        self.bptt = tokens;
        self
    }

    /// Sets whether every step has exactly `bptt` tokens.
    pub fn fixed_bptt(mut self, fixed: bool) -> Self {
        self.fixed_bptt = fixed;
        self
    }

    /// Sets the training batch size.
    pub fn batch(mut self, size: usize) -> Self {
        self.batch = size;
        self
    }

    /// Sets the validation batch size.
    pub fn valid_batch(mut self, size: usize) -> Self {
        self.valid_batch = size;
        self
    }

    /// Sets the number of epochs.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Sets the maximum number of steps.
    pub fn steps(mut self, steps: impl Into<Option<u64>>) -> Self {
        self.steps = steps.into();
        self
    }

    /// Sets the learning rate.
    pub fn lr(mut self, lr: f64) -> Self {
        self.lr = lr;
        self
    }

    /// Sets the epochs after which the learning rate is divided by 10.
    pub fn when(mut self, epochs: impl Into<Vec<usize>>) -> Self {
        self.when = epochs.into();
        self
    }

    /// Sets the maximum gradient norm.
    pub fn clip(mut self, norm: f64) -> Self {
        self.clip = norm;
        self
    }

    /// Sets the coefficient of activation regularization.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Sets the coefficient of temporal activation regularization.
    pub fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }

    /// Sets the weight decay.
    pub fn wdecay(mut self, wdecay: f64) -> Self {
        self.wdecay = wdecay;
        self
    }

    /// Sets the optimizer.
    pub fn optimizer(mut self, optimizer: OptimizerKind) -> Self {
        self.optimizer = optimizer;
        self
    }

    /// Sets the patience of SGD, in epochs, before it switches to averaging.
    pub fn nonmono(mut self, epochs: usize) -> Self {
        self.nonmono = epochs;
        self
    }

    /// Sets whether to finetune a trained model.
    pub fn finetune(mut self, finetune: bool) -> Self {
        self.finetune = finetune;
        self
    }

    /// Sets the seed of dropout masks and sequence lengths.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Learning rate in an epoch, counted from 1, for a step of `bptt` tokens.
    pub fn epoch_rate(&self, epoch: usize) -> f64 {
        let divided = self.when.iter().filter(|&&after| epoch > after).count();
        self.lr / 10f64.powi(divided as i32)
    }

    /// Checks the ranges of all settings.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first invalid setting.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("recipe.bptt", self.bptt),
            ("recipe.batch", self.batch),
            ("recipe.valid_batch", self.valid_batch),
            ("recipe.epochs", self.epochs),
        ];
        for (field, size) in sizes {
            if !(1..=MAX_SIZE).contains(&size) {
                return Err(Error::config(
                    field,
                    size,
                    format!("must be at least 1 and at most {MAX_SIZE}"),
                    "give a number within that range",
                ));
            }
        }
        if self.finetune && self.optimizer != OptimizerKind::Asgd {
            return Err(Error::config(
                "recipe.finetune",
                "",
                "requires averaged SGD",
                "set recipe.optimizer asgd",
            ));
        }
        if self.steps == Some(0) {
            return Err(Error::config(
                "recipe.steps",
                0,
                "must be at least 1",
                "leave it out to train all epochs",
            ));
        }
        let numbers = [
            ("recipe.lr", self.lr),
            ("recipe.clip", self.clip),
            ("recipe.alpha", self.alpha),
            ("recipe.beta", self.beta),
            ("recipe.wdecay", self.wdecay),
        ];
        for (field, number) in numbers {
            if !(number >= 0.0 && number.is_finite()) {
                return Err(Error::config(
                    field,
                    number,
                    "must be a finite number of at least 0",
                    "leave it out to use the paper's value",
                ));
            }
        }
        if self.lr == 0.0 {
            return Err(Error::config(
                "recipe.lr",
                0,
                "must be above 0: otherwise nothing is learned",
                "give for example 0.001",
            ));
        }
        if self.when.contains(&0) {
            return Err(Error::config(
                "recipe.when",
                0,
                "epochs are counted from 1",
                "give the epoch after which the learning rate is divided by 10",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_falls_after_each_epoch_in_when() {
        let recipe = Recipe::paper().lr(1.0).when([2, 4]);
        let rates: Vec<f64> = (1..=6).map(|epoch| recipe.epoch_rate(epoch)).collect();
        for (rate, expected) in rates.iter().zip([1.0, 1.0, 0.1, 0.1, 0.01, 0.01]) {
            assert!((rate - expected).abs() < 1e-15, "{rates:?}");
        }
    }

    #[test]
    fn messages_name_invalid_settings() {
        let assert_refused = |recipe: Recipe, field: &str| {
            let message = recipe.check().unwrap_err().to_string();
            assert!(message.starts_with(field), "{message}");
        };
        assert_refused(Recipe::paper().bptt(0), "recipe.bptt 0");
        assert_refused(Recipe::paper().batch(0), "recipe.batch 0");
        assert_refused(Recipe::paper().batch(usize::MAX), "recipe.batch");
        assert_refused(Recipe::paper().bptt(1 << 40), "recipe.bptt");
        assert_refused(Recipe::paper().lr(f64::NAN), "recipe.lr");
        assert_refused(Recipe::paper().lr(-1.0), "recipe.lr");
        assert_refused(Recipe::paper().when([0]), "recipe.when");
        assert_refused(Recipe { clip: f64::INFINITY, ..Recipe::paper() }, "recipe.clip");
        Recipe::paper().check().unwrap();
    }
}
