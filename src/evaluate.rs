//! Evaluation: cross entropy and perplexity of a model.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::data::{Batches, Corpus, EncodedText, Split};
use crate::format::{perplexity_in_text, thousands};
use crate::interrupt::Interrupt;
use crate::model::{QrnnLm, check_vocabulary};
use crate::progress::{Progress, Silent, Task, Unit};
use crate::{Error, Result};

/// Minimum tokens per forward pass on the CPU. Shorter windows are merged, which reads the weights less
/// often. The result is unchanged, since the state is carried over.
const MIN_TOKENS_CPU: usize = 1120;

/// Minimum tokens per forward pass on CUDA, where each pass also synchronizes to read the loss.
const MIN_TOKENS_CUDA: usize = 16_384;

/// Maximum tokens per forward pass, which limits memory. Longer windows are split.
const MAX_TOKENS: usize = 32_768;

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

/// Options of an evaluation.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// Batch size. awd-lstm-lm uses 10 for the validation text and 1 for the test text.
    pub batch: usize,
    /// Sequence length of a window. It affects only the speed, since the state is carried over.
    pub bptt: usize,
    /// Stops the evaluation, which then returns what it computed so far.
    pub interrupt: Interrupt,
}

impl EvalOptions {
    /// The batch size of awd-lstm-lm for this split.
    pub fn original(split: Split, bptt: usize) -> Self {
        let batch = if split == Split::Test { 1 } else { 10 };
        Self { batch, bptt, interrupt: Interrupt::default() }
    }

    /// # Errors
    /// [`Error::Config`] if `bptt` is 0. The batch size is checked against the text later.
    fn check(&self) -> Result<()> {
        if self.bptt > 0 {
            return Ok(());
        }
        Err(Error::config(
            "options.bptt",
            0,
            "must be at least 1",
            "omit it to use the sequence length of training",
        ))
    }
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
pub struct TextEvaluation {
    /// Loss, perplexity and time.
    #[serde(flatten)]
    pub evaluation: Evaluation,
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
    let path = path.as_ref();
    let EncodedText { tokens, unknown } = EncodedText::read(path, model.require_vocab()?)?;
    let evaluation =
        evaluate_tokens(model, &tokens, &path.display().to_string(), options, progress)?;
    Ok(TextEvaluation { evaluation, unknown })
}

/// Evaluates a model on token ids; `name` names the text in messages.
fn evaluate_tokens(
    model: &QrnnLm,
    tokens: &[u32],
    name: &str,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    progress.start(&Task::new(format!("evaluating {name}"), Unit::Tokens, tokens.len() as u64));
    let evaluation = mean_loss(model, tokens, name, options, progress);
    progress.finish();
    let evaluation = evaluation?;
    if evaluation.loss.is_nan() && evaluation.tokens > 0 {
        return Err(model.explain_not_finite("the loss"));
    }
    Ok(evaluation)
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

fn mean_loss(
    model: &QrnnLm,
    tokens: &[u32],
    name: &str,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    options.check()?;
    let interrupt = options.interrupt.during_call();
    let _no_grad = tch::no_grad_guard();
    let started = Instant::now();
    let model = &model.rounded()?;
    let batches = Batches::new(tokens, options.batch, name)?;
    let mut state = model.zero_state(options.batch as i64)?;
    let (mut loss_sum, mut row, mut interrupted) = (0.0, 0, false);
    let device = model.options().1;
    let min_tokens = if device.is_cuda() { MIN_TOKENS_CUDA } else { MIN_TOKENS_CPU };
    let max_seq = (MAX_TOKENS / options.batch).max(1);
    let seq = options.bptt.max(min_tokens / options.batch).min(max_seq);
    while row < batches.rows() - 1 {
        if interrupt.requested() {
            interrupted = true;
            break;
        }
        let batch = batches.batch(row, seq);
        let (inputs, targets) = model.upload_batch(&batch.inputs, batch.targets, options.batch)?;
        let forwarded = model.forward(&inputs, &state, None)?;
        loss_sum += model.loss_sum_of(&forwarded.features, &targets)?;
        state = forwarded.state;
        row += targets.tokens() / options.batch;
        progress.advance(targets.tokens() as u64);
    }
    let count = row * options.batch;
    let loss = loss_sum / count as f64;
    Ok(Evaluation {
        loss,
        reference_loss: loss_sum / (count + options.batch) as f64,
        ppl: loss.exp(),
        tokens: count,
        seconds: started.elapsed().as_secs_f64(),
        interrupted,
    })
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

impl std::fmt::Display for TextEvaluation {
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
