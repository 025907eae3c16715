//! Runs a model over a text, window by window, with the state carried over.

use std::ops::Range;

use super::options::EvalOptions;
use crate::Result;
use crate::data::Batches;
use crate::model::{Forwarded, QrnnLm};
use crate::progress::Progress;
use qrnn_ops::split_softmax::Targets;

/// Minimum tokens per forward pass on the CPU. Shorter windows are merged, which reads the weights less
/// often. The result is unchanged, since the state is carried over.
const MIN_TOKENS_CPU: usize = 1120;

/// Minimum tokens per forward pass on CUDA, where each pass also synchronizes to read the loss.
const MIN_TOKENS_CUDA: usize = 16_384;

/// Maximum tokens per forward pass, which limits memory. Longer windows are split.
const MAX_TOKENS: usize = 32_768;

/// A window of a text, read by a model.
pub(super) struct Window<'a> {
    /// The model, with its weights rounded for many forward passes.
    pub model: &'a QrnnLm,
    /// The forward pass over the window.
    pub forwarded: &'a Forwarded,
    /// The targets, for the softmax.
    pub targets: &'a Targets,
    /// The targets as token ids, seq × batch, row by row.
    pub tokens: &'a [i64],
}

/// The part of a text that one of several processes evaluates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// These batch columns.
    Columns(Range<usize>),
    /// Window `first` and each `every`-th one after it. The others are read for the state alone.
    Windows {
        first: usize,
        every: usize,
    },
}

/// How far a text was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    /// Number of predicted tokens of the part.
    pub tokens: usize,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

/// Calls `each` for every window of a text, in order, without gradients; `name` names the text in messages.
///
/// # Errors
/// [`crate::Error::Config`] if the text is too short for the batch size; those of `each`.
pub(super) fn for_each_window(
    model: &QrnnLm,
    tokens: &[u32],
    name: &str,
    options: &EvalOptions,
    progress: &mut dyn Progress,
    each: &mut dyn FnMut(Window<'_>) -> Result<()>,
) -> Result<Walk> {
    for_each_window_of(&Part::All, model, tokens, name, options, progress, each)
}

/// As [`for_each_window`], for a part of the text.
///
/// # Errors
/// As [`for_each_window`].
pub(super) fn for_each_window_of(
    part: &Part,
    model: &QrnnLm,
    tokens: &[u32],
    name: &str,
    options: &EvalOptions,
    progress: &mut dyn Progress,
    each: &mut dyn FnMut(Window<'_>) -> Result<()>,
) -> Result<Walk> {
    options.check()?;
    let interrupt = options.interrupt.during_call();
    let _no_grad = tch::no_grad_guard();
    let model = &model.rounded()?;
    let batches = Batches::new(tokens, options.batch, name)?;
    let columns = match part {
        Part::All | Part::Windows { .. } => 0..options.batch,
        Part::Columns(columns) => columns.clone(),
    };
    let batch = columns.len();
    let mut state = model.zero_state(batch as i64)?;
    let mut walk = Walk { tokens: 0, interrupted: false };
    let device = model.options().1;
    let min_tokens = if device.is_cuda() { MIN_TOKENS_CUDA } else { MIN_TOKENS_CPU };
    let max_seq = (MAX_TOKENS / batch).max(1);
    let seq = options.bptt.max(min_tokens / batch).min(max_seq);
    let starts = (0..batches.rows() - 1).step_by(seq);
    for (number, row) in starts.enumerate() {
        if interrupt.requested() {
            walk.interrupted = true;
            break;
        }
        let window = batches.columns(row, seq, columns.clone());
        let (inputs, targets) =
            model.upload_batch(&window.inputs, window.targets.clone(), batch)?;
        let forwarded = model.forward(&inputs, &state, None)?;
        let is_ours = match part {
            Part::All | Part::Columns(_) => true,
            Part::Windows { first, every } => number % every == *first,
        };
        if is_ours {
            let tokens = &window.targets[..];
            each(Window { model, forwarded: &forwarded, targets: &targets, tokens })?;
            walk.tokens += tokens.len();
        }
        state = forwarded.state;
        progress.advance(targets.tokens() as u64);
    }
    Ok(walk)
}
