//! The hidden states and losses of a text, computed once for a search.

use tch::{Kind, Tensor};

use super::pairs::Pairs;
use crate::Result;
use crate::evaluate::options::EvalOptions;
use crate::evaluate::windows::{Walk, for_each_window};
use crate::interrupt::Interrupt;
use crate::model::QrnnLm;
use crate::progress::Progress;
use qrnn_ops::libtorch::download;

/// What a model computed on a text. Its hidden states take 4 · E bytes per token on the model's device.
pub(super) struct Recorded {
    windows: Vec<RecordedWindow>,
    batch: usize,
    /// The model's loss of each target, in nats.
    pub losses: Vec<f64>,
    /// How far the text was read.
    pub walk: Walk,
}

struct RecordedWindow {
    /// (seq, batch, E).
    output: Tensor,
    /// seq × batch token ids, row by row.
    targets: Vec<i64>,
}

impl Recorded {
    pub fn new(
        model: &QrnnLm,
        tokens: &[u32],
        name: &str,
        options: &EvalOptions,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let (mut windows, mut losses) = (vec![], vec![]);
        let walk = for_each_window(model, tokens, name, options, progress, &mut |window| {
            let of_window =
                window.model.token_losses_of(&window.forwarded.features, window.targets)?;
            losses.extend(download(&of_window)?);
            let output = window.forwarded.output.f_contiguous()?;
            windows.push(RecordedWindow { output, targets: window.tokens.to_vec() });
            Ok(())
        })?;
        Ok(Self { windows, batch: options.batch, losses, walk })
    }

    /// The mean of |h|² over all hidden states: the scale of their inner products.
    pub fn mean_square(&self) -> Result<f64> {
        let mut sum = 0.0;
        for window in &self.windows {
            let squares = window.output.f_to_kind(Kind::Float)?.f_square()?;
            sum += squares.f_sum(Kind::Double)?.f_double_value(&[])?;
        }
        Ok(sum / self.losses.len() as f64)
    }

    /// The advantage of a cache of this size for each θ, (tokens) each; `None` if interrupted.
    pub fn advantages(
        &self,
        size: usize,
        thetas: &[f64],
        interrupt: &Interrupt,
        progress: &mut dyn Progress,
    ) -> Result<Option<Vec<Vec<f64>>>> {
        let _no_grad = tch::no_grad_guard();
        let mut pairs = Pairs::new(size, self.batch);
        let mut advantages = vec![Vec::with_capacity(self.losses.len()); thetas.len()];
        for window in &self.windows {
            if interrupt.requested() {
                return Ok(None);
            }
            let (unseen, tokens) = (pairs.unseen(), window.targets.len());
            let in_cache = pairs.log_probabilities(&window.output, &window.targets, thetas)?;
            let in_cache = download(&in_cache)?;
            for (of_theta, in_cache) in advantages.iter_mut().zip(in_cache.chunks_exact(tokens)) {
                let losses = &self.losses[of_theta.len()..];
                let each = in_cache.iter().zip(losses).enumerate();
                of_theta.extend(each.map(
                    |(i, (in_cache, loss))| {
                        if i < unseen { 0.0 } else { in_cache + loss }
                    },
                ));
            }
            progress.advance(tokens as u64);
        }
        Ok(Some(advantages))
    }
}
