//! Evaluates a model with a cache.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use tch::Tensor;

use super::cache::NeuralCache;
use super::mixture::gain;
use super::pairs::Pairs;
use crate::Result;
use crate::data::{Corpus, Split};
use crate::evaluate::evaluation::{Evaluation, TextEvaluation, evaluate_tokens, of_text, shown};
use crate::evaluate::options::EvalOptions;
use crate::evaluate::windows::{Window, for_each_window};
use crate::format::perplexity_in_text;
use crate::model::{QrnnLm, check_vocabulary};
use crate::progress::Progress;
use qrnn_ops::libtorch::download;

/// Results of an evaluation with a cache.
#[derive(Debug, Clone, Serialize)]
pub struct CachedEvaluation {
    /// Loss, perplexity and time with the cache.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Mean cross entropy of the model alone on the same tokens, in nats per token.
    pub plain_loss: f64,
    /// exp(plain_loss).
    pub plain_ppl: f64,
    /// The cache.
    pub cache: NeuralCache,
}

impl CachedEvaluation {
    /// By which share the cache lowers the perplexity: 0.2 for a fifth.
    pub fn reduction(&self) -> f64 {
        -(self.evaluation.loss - self.plain_loss).exp_m1()
    }
}

/// Evaluates a model with a cache on a split. With a λ of 0 this is
/// [`evaluate_split`](crate::evaluate::evaluate_split).
///
/// # Errors
/// As [`evaluate_split`](crate::evaluate::evaluate_split); [`crate::Error::Config`] if a value of the cache is
/// out of its range.
pub fn evaluate_split_with(
    model: &QrnnLm,
    corpus: &Corpus,
    split: Split,
    cache: &NeuralCache,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<CachedEvaluation> {
    check_vocabulary(model, corpus)?;
    let name = split.to_string();
    evaluate_tokens_with(model, corpus.tokens(split), &name, cache, options, progress)
}

/// Evaluates a model with a cache on a text file, with the model's own vocabulary.
///
/// # Errors
/// As [`evaluate_text`](crate::evaluate::evaluate_text); [`crate::Error::Config`] if a value of the cache is
/// out of its range.
pub fn evaluate_text_with(
    model: &QrnnLm,
    path: impl AsRef<Path>,
    cache: &NeuralCache,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<TextEvaluation<CachedEvaluation>> {
    of_text(model, path.as_ref(), |tokens, name| {
        evaluate_tokens_with(model, tokens, name, cache, options, progress)
    })
}

pub(super) fn evaluate_tokens_with(
    model: &QrnnLm,
    tokens: &[u32],
    name: &str,
    cache: &NeuralCache,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<CachedEvaluation> {
    cache.check()?;
    let cache = *cache;
    if cache.lambda == 0.0 {
        let evaluation = evaluate_tokens(model, tokens, name, options, progress)?;
        let (plain_loss, plain_ppl) = (evaluation.loss, evaluation.ppl);
        return Ok(CachedEvaluation { evaluation, plain_loss, plain_ppl, cache });
    }
    let (started, mut pairs) = (Instant::now(), Pairs::new(cache.size, options.batch));
    let (mut plain_sum, mut loss_sum) = (0.0, 0.0);
    let walk = shown(tokens, name, progress, |progress| {
        for_each_window(model, tokens, name, options, progress, &mut |window| {
            for [plain, advantage] in losses(&window, &mut pairs, cache.theta)? {
                plain_sum += plain;
                loss_sum += plain - gain(advantage, cache.lambda);
            }
            Ok(())
        })
    })?;
    let evaluation = Evaluation::of_sum(loss_sum, walk, options.batch, started);
    evaluation.check_finite(model)?;
    let plain_loss = plain_sum / walk.tokens as f64;
    Ok(CachedEvaluation { evaluation, plain_loss, plain_ppl: plain_loss.exp(), cache })
}

/// For each target of a window, the model's loss and the advantage of the cache, in nats. Synchronizes once
/// with a GPU.
pub(super) fn losses(
    window: &Window<'_>,
    pairs: &mut Pairs,
    theta: f64,
) -> Result<impl Iterator<Item = [f64; 2]> + use<>> {
    let unseen = pairs.unseen();
    let plain = window.model.token_losses_of(&window.forwarded.features, window.targets)?;
    let in_cache = pairs.log_probabilities(&window.forwarded.output, window.tokens, &[theta])?;
    let both = download(&Tensor::f_cat(&[plain.f_unsqueeze(0)?, in_cache], 0)?)?;
    Ok((0..window.tokens.len()).map(move |i| {
        let (plain, in_cache) = (both[i], both[both.len() / 2 + i]);
        [plain, if i < unseen { 0.0 } else { in_cache + plain }]
    }))
}

impl std::fmt::Display for CachedEvaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = perplexity_in_text(self.plain_loss);
        let share = 100.0 * self.reduction();
        write!(f, "{}; with a {}: {share:.1} % below {plain}", self.evaluation, self.cache)
    }
}
