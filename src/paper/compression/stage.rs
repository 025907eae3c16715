//! One stage of a compression.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::data::{Corpus, Split};
use crate::evaluate::{EvalOptions, Evaluation, evaluate_split};
use crate::interrupt::Interrupt;
use crate::model::{LmConfig, QrnnLm};
use crate::paper::operation_counts::OpTable;
use crate::progress::Progress;

/// A model at one stage: its perplexities, and what it takes by the rules of the challenge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// dense or adaptive, pruned, quantized, cached.
    pub name: String,
    /// Perplexity of the validation text, in 10 columns.
    pub valid_ppl: f64,
    /// Perplexity of the test text, in one column.
    pub test_ppl: f64,
    /// Storage in 32-bit parameters.
    pub parameters_32: f64,
    /// 32-bit operations per token.
    pub operations: f64,
    /// MicroNet score.
    pub score: f64,
    /// Storage in bytes.
    pub bytes: u64,
    /// Test tokens per second of the evaluation.
    pub tokens_per_second: f64,
}

impl Stage {
    /// The name of the stage of a model before compression.
    pub(crate) fn name_of(config: &LmConfig) -> &'static str {
        if config.widths.is_some() { "adaptive" } else { "dense" }
    }

    /// Measures a model; `None` if interrupted.
    pub(crate) fn measure(
        name: &str,
        model: &QrnnLm,
        corpus: &Corpus,
        table: &OpTable,
        interrupt: &Interrupt,
        progress: &mut dyn Progress,
    ) -> Result<Option<Self>> {
        let mut evaluate = |split| -> Result<Option<Evaluation>> {
            let mut options = EvalOptions::original(split, model.config().bptt);
            options.interrupt = interrupt.clone();
            let evaluation = evaluate_split(model, corpus, split, &options, progress)?;
            Ok(Some(evaluation).filter(|evaluation| !evaluation.interrupted))
        };
        let Some(valid) = evaluate(Split::Valid)? else { return Ok(None) };
        let Some(test) = evaluate(Split::Test)? else { return Ok(None) };
        Ok(Some(Self::new(name, valid.ppl, (test.ppl, test.tokens, test.seconds), table)))
    }

    /// * `test`: perplexity, tokens and seconds of the test.
    pub(super) fn new(
        name: &str,
        valid_ppl: f64,
        (test_ppl, tokens, seconds): (f64, usize, f64),
        table: &OpTable,
    ) -> Self {
        Self {
            name: name.into(),
            valid_ppl,
            test_ppl,
            parameters_32: table.parameters_32.unwrap_or(0.0),
            operations: table.operations.unwrap_or(0.0),
            score: table.score,
            bytes: (table.total.params_mbytes * 1e6).ceil() as u64,
            tokens_per_second: tokens as f64 / seconds.max(1e-9),
        }
    }
}
