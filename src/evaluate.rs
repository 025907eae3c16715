//! Perplexity of a model on a text.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::data::{Batches, Corpus, Mapped, Split};
use crate::format::perplexity_in_text;
use crate::interrupt::Interrupt;
use crate::model::{QrnnLm, check_vocabulary};
use crate::progress::{Progress, Silent, Task, Unit};
use crate::{Error, Result};

/// Tokens per forward pass on the CPU, where the windows are shorter: the state passes from window to window,
/// so several windows can be read as one, and each matmul then reads the weights for more tokens.
const TOKENS_PER_PASS: usize = 1120;

/// The same on a GPU, where reading the loss of a pass synchronizes.
const TOKENS_PER_PASS_ON_GPU: usize = 16_384;

/// Tokens per forward pass at most, to bound the memory; longer windows are read in pieces.
const MAX_TOKENS_PER_PASS: usize = 32_768;

/// Result of an evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Mean cross entropy, in nats per predicted token.
    pub loss: f64,
    /// The same sum divided as the original does it: by all tokens of the split, including the first of each
    /// batch column, which nothing predicts.
    pub reference_loss: f64,
    /// exp(loss).
    pub ppl: f64,
    /// Predicted tokens.
    pub tokens: usize,
    /// Duration.
    pub seconds: f64,
    /// Whether it was interrupted: the other fields are then those of the tokens before.
    pub interrupted: bool,
}

/// How an evaluation reads the text.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// Batch columns: the original reads the validation text in 10 and the test text in 1.
    pub batch: usize,
    /// Window length in tokens. The state passes from window to window, so it changes the speed only.
    pub bptt: usize,
    /// Stops the evaluation.
    pub interrupt: Interrupt,
}

impl EvalOptions {
    /// As the original reads a split.
    pub fn original(split: Split, bptt: usize) -> Self {
        let batch = if split == Split::Test { 1 } else { 10 };
        Self { batch, bptt, interrupt: Interrupt::default() }
    }

    /// # Errors
    /// [`Error::Usage`] for windows of 0 tokens; [`Batches`] checks the batch columns.
    fn check(&self) -> Result<()> {
        if self.bptt > 0 {
            return Ok(());
        }
        Err(Error::usage(
            "--bptt 0",
            "must be at least 1",
            "leave it out for the windows of training",
        ))
    }
}

/// Evaluates a model on a split.
///
/// # Errors
/// [`Error::Usage`] where the text is too short or its vocabulary is not the model's; [`Error::NotFinite`]
/// where the loss is NaN.
pub fn evaluate_split(
    model: &QrnnLm,
    corpus: &Corpus,
    split: Split,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    check_vocabulary(model, corpus)?;
    evaluate_ids(model, corpus.tokens(split), &split.to_string(), options, progress)
}

/// Result of the evaluation of a text file.
#[derive(Debug, Clone, Serialize)]
pub struct TextEvaluation {
    /// Loss and perplexity.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Words that are not in the model's vocabulary; each was read as `<unk>`.
    pub unknown: usize,
}

/// Evaluates a text file in the model's own vocabulary.
///
/// # Errors
/// As [`evaluate_split`]; [`Error::Usage`] where the model has no vocabulary, [`Error::BadFile`] where the
/// text has unknown words and the vocabulary has no `<unk>`.
pub fn evaluate_text(
    model: &QrnnLm,
    path: impl AsRef<Path>,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<TextEvaluation> {
    let path = path.as_ref();
    let Mapped { ids, unknown } = Mapped::read(path, model.own_words()?)?;
    let evaluation = evaluate_ids(model, &ids, &path.display().to_string(), options, progress)?;
    Ok(TextEvaluation { evaluation, unknown })
}

/// `name` is that of the text in messages.
fn evaluate_ids(
    model: &QrnnLm,
    ids: &[u32],
    name: &str,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    progress.start(&Task::new(format!("evaluating {name}"), Unit::Tokens, ids.len() as u64));
    let evaluation = mean_loss(model, ids, name, options, progress);
    progress.finish();
    let evaluation = evaluation?;
    if evaluation.loss.is_nan() && evaluation.tokens > 0 {
        return Err(model.explain_not_finite("the loss"));
    }
    Ok(evaluation)
}

/// Evaluation within a training run: without progress, and a loss of NaN is a result.
pub(crate) fn validate(
    model: &QrnnLm,
    ids: &[u32],
    name: &str,
    options: &EvalOptions,
) -> Result<Evaluation> {
    mean_loss(model, ids, name, options, &mut Silent)
}

fn mean_loss(
    model: &QrnnLm,
    ids: &[u32],
    name: &str,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    options.check()?;
    let interrupt = options.interrupt.during_call();
    let _no_grad = tch::no_grad_guard();
    let started = Instant::now();
    let model = &model.rounded()?;
    let batches = Batches::new(ids, options.batch, name)?;
    let mut state = model.zero_state(options.batch as i64)?;
    let on_gpu = model.options().1.is_cuda();
    let tokens_per_pass = if on_gpu { TOKENS_PER_PASS_ON_GPU } else { TOKENS_PER_PASS };
    let max_seq = (MAX_TOKENS_PER_PASS / options.batch).max(1);
    let seq = options.bptt.max(tokens_per_pass / options.batch).min(max_seq);
    let (mut sum, mut row, mut interrupted) = (0.0, 0, false);
    while row < batches.rows() - 1 {
        if interrupt.requested() {
            interrupted = true;
            break;
        }
        let [inputs, targets] = batches.window(row, seq);
        let (tokens, targets) = model.upload_batch(&inputs, targets, options.batch)?;
        let forwarded = model.forward(&tokens, &state, None)?;
        sum += model.loss_sum_of(&forwarded.features, &targets)?;
        state = forwarded.state;
        row += targets.tokens() / options.batch;
        progress.advance(targets.tokens() as u64);
    }
    let tokens = row * options.batch;
    let loss = sum / tokens as f64;
    Ok(Evaluation {
        loss,
        reference_loss: sum / (tokens + options.batch) as f64,
        ppl: loss.exp(),
        tokens,
        seconds: started.elapsed().as_secs_f64(),
        interrupted,
    })
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}loss {:.4} nats per word, perplexity {} over {} words in {:.1} s \
             (loss as the original divides it: {:.4})",
            if self.interrupted { "interrupted: " } else { "" },
            self.loss,
            perplexity_in_text(self.loss),
            self.tokens,
            self.seconds,
            self.reference_loss
        )
    }
}

impl std::fmt::Display for TextEvaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.evaluation)?;
        match self.unknown {
            0 => write!(f, "; the model knows all of its words"),
            n => write!(f, "; {n} of them are unknown to the model and were read as <unk>"),
        }
    }
}
