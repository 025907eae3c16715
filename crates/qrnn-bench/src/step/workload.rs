//! A model and the tokens that its steps are trained on.

use std::collections::HashSet;
use std::ffi::OsString;

use qrnn::Result;
use qrnn::command_line::load_corpus;
use qrnn::data::{Corpus, Split};
use qrnn::model::{LmConfig, QrnnLm};
use qrnn::train::Recipe;
use tch::{Device, Kind};

use super::args::WorkFlags;
use super::lower_bound::StepCost;
use crate::precision::PrecisionChoice;
use crate::shape::Shape;
use crate::{device as devices, random_tokens, subprocess};

/// Probability of the entry's locked dropouts.
pub const DROPOUT: f64 = 0.1;

pub struct Workload<'a> {
    pub flags: &'a WorkFlags,
    pub shape: Shape,
    pub device: Device,
    pub corpus: Corpus,
    /// First tokens of the tails.
    pub borders: Vec<usize>,
}

impl<'a> Workload<'a> {
    /// `steps`: the steps of the longest run, for which random tokens suffice.
    pub fn new(flags: &'a WorkFlags, shape: Shape, device: Device, steps: usize) -> Result<Self> {
        let corpus = match &flags.data {
            Some(_) => load_corpus(flags.data.clone())?,
            None => {
                let tokens = flags.batch_size * flags.bptt * (steps + 1);
                random_tokens::corpus(flags.types, tokens, 20)?
            }
        };
        let borders = shape.borders(&flags.splits, corpus.vocab().len());
        Ok(Self { flags, shape, device, corpus, borders })
    }

    fn config(&self, dropout: f64) -> LmConfig {
        let config = self.shape.config(&self.borders, self.corpus.vocab().len());
        config.locked_dropouts(dropout, dropout, dropout)
    }

    pub fn model(&self, format: PrecisionChoice, dropout: f64) -> Result<QrnnLm> {
        let mut model = QrnnLm::seeded(&self.config(dropout), (Kind::Float, self.device), 1)?;
        model.set_precision(format.precision());
        Ok(model)
    }

    pub fn recipe(&self) -> Recipe {
        let recipe = Recipe::paper().bptt(self.flags.bptt).batch(self.flags.batch_size);
        Recipe { fixed_bptt: true, ..recipe }
    }

    /// Tokens of a step.
    pub fn words(&self) -> f64 {
        (self.flags.batch_size * self.flags.bptt) as f64
    }

    /// The number of distinct tokens in the first step.
    pub fn distinct(&self) -> usize {
        let tokens = self.corpus.tokens(Split::Train);
        let column = tokens.len() / self.flags.batch_size;
        let words = (0..self.flags.batch_size)
            .flat_map(|b| tokens[b * column..].iter().take(self.flags.bptt.min(column)));
        words.collect::<HashSet<_>>().len()
    }

    /// What a step costs at least.
    pub fn cost(&self, format: PrecisionChoice) -> StepCost {
        let tokens = self.corpus.tokens(Split::Train);
        let counts = random_tokens::count_by_cluster(tokens, &self.borders);
        let share = |count: &usize| self.words() * *count as f64 / tokens.len() as f64;
        let in_tails: Vec<f64> = counts[1..].iter().map(share).collect();
        let (words, distinct) = (self.words(), self.distinct() as f64);
        StepCost::of(&self.config(DROPOUT), &self.borders, words, distinct, &in_tails, format)
    }

    /// Peak memory of steps in this precision: of tensors on a GPU since the last call, or of `step-memory`
    /// in another process, where nothing else has used memory.
    pub fn peak_bytes(&self, format: PrecisionChoice) -> Result<Option<f64>> {
        if self.device.is_cuda() {
            return devices::peak_bytes(self.device);
        }
        let flags = self.flags;
        let splits: Vec<String> = flags.splits.iter().map(usize::to_string).collect();
        let mut args: Vec<OsString> = vec!["step-memory".into()];
        for (flag, value) in [
            ("--models", self.shape.to_string()),
            ("--formats", format.name().into()),
            ("--splits", splits.join(",")),
            ("--batch-size", flags.batch_size.to_string()),
            ("--bptt", flags.bptt.to_string()),
            ("--types", flags.types.to_string()),
        ] {
            args.extend([flag.into(), value.into()]);
        }
        if let Some(data) = &flags.data {
            args.extend(["--data".into(), data.into()]);
        }
        Ok(subprocess::run(&args)?["peak_bytes"].as_f64())
    }
}
