//! The pairs that a cache holds while a text is read.

use tch::{Kind, Tensor};

use crate::Result;
use qrnn_ops::cache_attention::CacheAttention;

/// The last pairs of each batch column: hidden states, and the tokens that followed them.
#[derive(Debug)]
pub(super) struct Pairs {
    /// Most pairs that are kept.
    size: usize,
    batch: usize,
    /// Keys: (kept, batch, E) of kind Float or Double, on the model's device; `None` at the beginning.
    keys: Option<Tensor>,
    /// Values of each column: (kept).
    values: Vec<Vec<i64>>,
}

impl Pairs {
    pub fn new(size: usize, batch: usize) -> Self {
        Self { size, batch, keys: None, values: vec![vec![]; batch] }
    }

    /// Number of tokens at the beginning of the next window that have no pair before them.
    pub fn unseen(&self) -> usize {
        if self.keys.is_none() { self.batch } else { 0 }
    }

    /// log p_cache of the targets of the next window for each θ, in nats: (thetas, seq × batch) of kind Double,
    /// on the model's device. Then adds the window's pairs.
    ///
    /// * `output`: (seq, batch, E), the model's last layer;
    /// * `targets`: seq × batch token ids, row by row.
    pub fn log_probabilities(
        &mut self,
        output: &Tensor,
        targets: &[i64],
        thetas: &[f64],
    ) -> Result<Tensor> {
        let seq = targets.len() / self.batch;
        // bf16 has too few digits for sums of inner products.
        let double = output.kind() == Kind::Double;
        let output = output.f_to_kind(if double { Kind::Double } else { Kind::Float })?;
        let keys = match self.keys.take() {
            Some(before) => Tensor::f_cat(&[before, output], 0)?,
            None => output,
        };
        let mut columns = vec![];
        for (column, values) in self.values.iter_mut().enumerate() {
            values.extend(targets.iter().skip(column).step_by(self.batch));
            let keys = keys.f_select(1, column as i64)?;
            let attention =
                CacheAttention { keys: &keys, values: &*values, queries: seq, size: self.size };
            columns.push(attention.log_probabilities(thetas)?);
            values.drain(..values.len().saturating_sub(self.size));
        }
        let all = keys.size()[0];
        let kept = all.min(self.size as i64);
        // A copy: a view would keep the whole window in memory.
        self.keys = Some(keys.f_narrow(0, all - kept, kept)?.f_detach_copy()?);
        Ok(Tensor::f_stack(&columns, 2)?.f_view([thetas.len() as i64, -1])?)
    }
}
