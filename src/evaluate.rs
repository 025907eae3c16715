//! Perplexity of a model on a split.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::data::Batches;
use crate::data::{Corpus, Mapped, Split};
use crate::format::perplexity_in_text;
use crate::interrupt::Interrupt;
use crate::model::{QrnnLm, check_vocabulary};
use crate::progress::{Progress, Silent, Task, Unit};
use crate::{Error, Result};

/// Words read at once where windows are shorter: the state is carried, so that windows after one
/// another may be read as one, and each matrix product then reads the weights for more words.
const WORDS_AT_ONCE: usize = 1120;

/// The same on a card, where each window also means to wait for its loss.
const WORDS_AT_ONCE_ON_CARD: usize = 16_384;

/// No more words are read at once, whatever the windows and columns: memory would run out. State is
/// carried, so that a window may be read in pieces.
const MOST_WORDS: usize = 32_768;

/// What an evaluation finds.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Mean cross entropy, in nats a predicted word.
    pub loss: f64,
    /// The same sum as the original divides it: by the words of the split, the first of each
    /// column included though nothing predicts it.
    pub reference_loss: f64,
    /// exp(loss).
    pub ppl: f64,
    /// Words predicted.
    pub tokens: usize,
    /// Time taken.
    pub seconds: f64,
}

/// How to read the text in an evaluation.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// Batches: the original reads the validation text in 10 and the test text in 1.
    pub batch: usize,
    /// Words a column in one window; the state is carried, so that it changes the speed only: short
    /// windows are read several at once, and long ones in pieces.
    pub bptt: usize,
    /// Ends the evaluation early, as an error.
    pub interrupt: Interrupt,
}

impl EvalOptions {
    /// As the original reads a split.
    pub fn original(split: Split, bptt: usize) -> Self {
        let batch = if split == Split::Test { 1 } else { 10 };
        Self { batch, bptt, interrupt: Interrupt::default() }
    }

    /// # Errors
    /// [`Error::Usage`] for windows of no words; the columns are checked where the text is known.
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
/// [`Error::Usage`] where the text is too short or its vocabulary is not the model's;
/// [`Error::Interrupted`] where asked to stop, [`Error::NotFinite`] where the loss is NaN.
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

/// What an evaluation of any text finds.
#[derive(Debug, Clone, Serialize)]
pub struct TextEvaluation {
    /// As of a split.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// Words that the model does not know; each was read as `<unk>`.
    pub unknown: usize,
}

/// Evaluates a text file by the words that the model carries.
///
/// # Errors
/// As [`evaluate_split`]; [`Error::Usage`] where the model's words are not known, [`Error::BadFile`]
/// where the text has words that the model does not know, and that has no `<unk>` for them.
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

/// Evaluates ids of the model's vocabulary; `what` names them in messages.
fn evaluate_ids(
    model: &QrnnLm,
    ids: &[u32],
    what: &str,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    progress.start(&Task::new(format!("evaluating {what}"), Unit::Tokens, ids.len() as u64));
    let evaluation = mean_loss(model, ids, what, options, progress);
    progress.finish();
    match evaluation? {
        evaluation if evaluation.loss.is_nan() => Err(model.explain_not_finite("the loss")),
        evaluation => Ok(evaluation),
    }
}

/// The validation of a training run: no progress, and a loss of NaN is not an error.
pub(crate) fn validate(
    model: &QrnnLm,
    ids: &[u32],
    what: &str,
    options: &EvalOptions,
) -> Result<Evaluation> {
    mean_loss(model, ids, what, options, &mut Silent)
}

fn mean_loss(
    model: &QrnnLm,
    ids: &[u32],
    what: &str,
    options: &EvalOptions,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    options.check()?;
    let interrupt = options.interrupt.during_call();
    let _no_grad = tch::no_grad_guard();
    let started = Instant::now();
    let model = &model.rounded()?;
    let columns = Batches::new(ids, options.batch, what)?;
    let mut state = model.zero_state(options.batch as i64)?;
    let (mut sum, mut row) = (0.0, 0);
    let device = model.options().1;
    let at_once = if device.is_cuda() { WORDS_AT_ONCE_ON_CARD } else { WORDS_AT_ONCE };
    let most = (MOST_WORDS / options.batch).max(1);
    let seq = options.bptt.max(at_once / options.batch).min(most);
    while row < columns.rows() - 1 {
        if interrupt.requested() {
            return Err(Error::Interrupted { saved: "the evaluation was not finished".into() });
        }
        let [words, targets] = columns.window(row, seq);
        let (words, targets) = model.upload_batch(&words, targets, options.batch)?;
        let forwarded = model.forward(&words, &state, None)?;
        sum += model.loss_sum_of(&forwarded.features, &targets)?;
        state = forwarded.state;
        row += targets.tokens() / options.batch;
        progress.advance(targets.tokens() as u64);
    }
    let loss = sum / columns.predicted() as f64;
    Ok(Evaluation {
        loss,
        reference_loss: sum / (columns.rows() * columns.batch()) as f64,
        ppl: loss.exp(),
        tokens: columns.predicted(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

impl std::fmt::Display for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "loss {:.4} nats a word, perplexity {} over {} words in {:.1} s \
             (loss as the original divides it: {:.4})",
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
