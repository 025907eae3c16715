//! Runs a model over a text, window by window, with the state carried over.

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

/// How far a text was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    /// Number of predicted tokens.
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
    options.check()?;
    let interrupt = options.interrupt.during_call();
    let _no_grad = tch::no_grad_guard();
    let model = &model.rounded()?;
    let batches = Batches::new(tokens, options.batch, name)?;
    let mut state = model.zero_state(options.batch as i64)?;
    let (mut row, mut interrupted) = (0, false);
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
        let (inputs, targets) =
            model.upload_batch(&batch.inputs, batch.targets.clone(), options.batch)?;
        let forwarded = model.forward(&inputs, &state, None)?;
        each(Window { model, forwarded: &forwarded, targets: &targets, tokens: &batch.targets })?;
        state = forwarded.state;
        row += targets.tokens() / options.batch;
        progress.advance(targets.tokens() as u64);
    }
    Ok(Walk { tokens: row * options.batch, interrupted })
}
