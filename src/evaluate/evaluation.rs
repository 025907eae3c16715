//! Cross entropy and perplexity of a model on a text.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::options::EvalOptions;
use super::windows::{Part, Walk, for_each_window, for_each_window_of};
#[cfg(doc)]
use crate::Error;
use crate::Result;
use crate::data::{Corpus, EncodedText, Split};
use crate::format::{perplexity_in_text, thousands};
use crate::model::{QrnnLm, check_vocabulary};
use crate::progress::{Progress, Silent, Task, Unit};
use qrnn_ops::process_group::ProcessGroup;

/// Results of an evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Mean cross entropy, in nats per predicted token.
    pub loss: f64,
    /// The summed cross entropy divided by all tokens of the split, as awd-lstm-lm does, although the
    /// first token of each batch column is not predicted.
    pub reference_loss: f64,
    /// exp(loss).
    pub ppl: f64,
    /// Number of predicted tokens.
    pub tokens: usize,
    /// Time of the evaluation, in seconds.
    pub seconds: f64,
    /// Whether it was interrupted: the other fields are then those of the tokens before.
    pub interrupted: bool,
}

/// Evaluates a model on a split.
///
/// # Errors
/// [`Error::Config`] if the text is too short; [`Error::Mismatch`] if its vocabulary is not the model's; [`Error::NotFinite`]
/// if the loss is NaN.
pub fn evaluate_split(
    model: &QrnnLm,
    corpus: &Corpus,
    split: Split,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    check_vocabulary(model, corpus)?;
    evaluate_tokens(model, corpus.tokens(split), &split.to_string(), options, progress)
}

/// Results of an evaluation on a text file.
#[derive(Debug, Clone, Serialize)]
pub struct TextEvaluation<E = Evaluation> {
    /// Loss, perplexity and time.
    #[serde(flatten)]
    pub evaluation: E,
    /// Number of words outside the model's vocabulary, each read as `<unk>`.
    pub unknown: usize,
}

/// Evaluates a model on a text file, with the model's own vocabulary.
///
/// # Errors
/// As [`evaluate_split`]; [`Error::Mismatch`] if the model has no vocabulary, [`Error::BadFile`] if the
/// text has unknown words and the vocabulary has no `<unk>`.
pub fn evaluate_text(
    model: &QrnnLm,
    path: impl AsRef<Path>,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<TextEvaluation> {
    let evaluate =
        |tokens: &[u32], name: &str| evaluate_tokens(model, tokens, name, options, progress);
    of_text(model, path.as_ref(), evaluate)
}

/// Reads a text file with the model's vocabulary and evaluates its tokens; the second argument of `evaluate`
/// names the text in messages.
pub(super) fn of_text<E>(
    model: &QrnnLm,
    path: &Path,
    evaluate: impl FnOnce(&[u32], &str) -> Result<E>,
) -> Result<TextEvaluation<E>> {
    let EncodedText { tokens, unknown } = EncodedText::read(path, model.require_vocab()?)?;
    let evaluation = evaluate(&tokens, &path.display().to_string())?;
    Ok(TextEvaluation { evaluation, unknown })
}

/// Evaluates a model on token ids; `name` names the text in messages.
pub(super) fn evaluate_tokens(
    model: &QrnnLm,
    tokens: &[u32],
    name: &str,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    let evaluation = shown(tokens, name, progress, |progress| {
        mean_loss(model, tokens, name, options, progress)
    })?;
    evaluation.check_finite(model)?;
    Ok(evaluation)
}

/// Reports an evaluation of these tokens as a task.
pub(super) fn shown<T>(
    tokens: &[u32],
    name: &str,
    progress: &mut dyn Progress,
    evaluate: impl FnOnce(&mut dyn Progress) -> Result<T>,
) -> Result<T> {
    progress.start(&Task::new(format!("evaluating {name}"), Unit::Tokens, tokens.len() as u64));
    let evaluation = evaluate(progress);
    progress.finish();
    evaluation
}

/// Validation during training: reports no progress, and accepts a loss of NaN.
pub(crate) fn validate(
    model: &QrnnLm,
    tokens: &[u32],
    name: &str,
    options: &EvalOptions,
) -> Result<Evaluation> {
    mean_loss(model, tokens, name, options, &mut Silent)
}

/// As [`validate`], by the processes of a group: each evaluates some batch columns, or some windows of all columns if
/// there are fewer columns than processes. All get the whole result.
///
/// # Errors
/// As [`evaluate_split`], but for a loss of NaN; [`Error::Ops`] if another process of the group has ended.
pub(crate) fn validate_together(
    group: &ProcessGroup,
    model: &QrnnLm,
    tokens: &[u32],
    name: &str,
    options: &EvalOptions,
) -> Result<Evaluation> {
    let (started, mut loss_sum) = (Instant::now(), 0.0);
    let part = match options.batch >= group.world_size() {
        true => Part::Columns(group.share(options.batch)),
        false => Part::Windows { first: group.rank(), every: group.world_size() },
    };
    let progress = &mut Silent;
    let walk = for_each_window_of(&part, model, tokens, name, options, progress, &mut |window| {
        loss_sum += window.model.loss_sum_of(&window.forwarded.features, window.targets)?;
        Ok(())
    })?;
    if walk.interrupted {
        group.request_stop();
    }
    let own = [loss_sum, walk.tokens as f64, f64::from(u8::from(walk.interrupted))];
    let [loss_sum, tokens, interrupted] = group.sum_numbers(own)?;
    let walk = Walk { tokens: tokens as usize, interrupted: interrupted > 0.0 };
    Ok(Evaluation::of_sum(loss_sum, walk, options.batch, started))
}

fn mean_loss(
    model: &QrnnLm,
    tokens: &[u32],
    name: &str,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    let (started, mut loss_sum) = (Instant::now(), 0.0);
    let walk = for_each_window(model, tokens, name, options, progress, &mut |window| {
        loss_sum += window.model.loss_sum_of(&window.forwarded.features, window.targets)?;
        Ok(())
    })?;
    Ok(Evaluation::of_sum(loss_sum, walk, options.batch, started))
}

impl Evaluation {
    /// # Errors
    /// [`Error::NotFinite`] if the loss is NaN.
    pub(super) fn check_finite(&self, model: &QrnnLm) -> Result<()> {
        if self.loss.is_nan() && self.tokens > 0 {
            return Err(model.explain_not_finite("the loss"));
        }
        Ok(())
    }

    /// * `loss_sum`: over all tokens of the walk, in nats.
    pub(super) fn of_sum(loss_sum: f64, walk: Walk, batch: usize, started: Instant) -> Self {
        let loss = loss_sum / walk.tokens as f64;
        Self {
            loss,
            reference_loss: loss_sum / (walk.tokens + batch) as f64,
            ppl: loss.exp(),
            tokens: walk.tokens,
            seconds: started.elapsed().as_secs_f64(),
            interrupted: walk.interrupted,
        }
    }
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}loss {:.4} nats per token, perplexity {} over {} tokens in {:.1} s \
             (loss as awd-lstm-lm computes it: {:.4})",
            if self.interrupted { "interrupted: " } else { "" },
            self.loss,
            perplexity_in_text(self.loss),
            thousands(self.tokens as u64),
            self.seconds,
            self.reference_loss
        )
    }
}

impl<E: std::fmt::Display> std::fmt::Display for TextEvaluation<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.evaluation)?;
        match self.unknown {
            0 => write!(f, "; all words are in the model's vocabulary"),
            n => {
                let n = thousands(n as u64);
                write!(f, "; {n} of them are not in the model's vocabulary and were read as <unk>")
            }
        }
    }
}
