//! Sums of losses and gradients over the columns of all processes.

use qrnn_ops::process_group::ProcessGroup;
use qrnn_ops::split_softmax::LossShare;
use tch::Tensor;

use super::DataParallel;
use crate::Result;
use crate::model::{AdditionOrder, QrnnLm};
use crate::train::step_inputs::TokenIds;

impl DataParallel {
    /// The gradients of the objective of the whole batch, in the order of [`QrnnLm::parameters`], and its loss, a
    /// scalar tensor that is not copied to the host.
    ///
    /// * `loss`: the share of this process in the loss; `objective`: that in the objective;
    /// * `embedded`: the leaf passed to [`QrnnLm::forward_embedded`].
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out or another process has ended.
    pub fn gradients(
        &self,
        model: &QrnnLm,
        loss: &LossShare,
        objective: &Tensor,
        (embedded, tokens): (&Tensor, &TokenIds),
    ) -> Result<(Vec<Tensor>, Tensor)> {
        let Some(group) = &self.group else {
            let gradients = model.gradients(objective, embedded, &tokens.own)?;
            return Ok((gradients, loss.mean.f_detach()?));
        };
        let sum = loss.sum.f_detach()?;
        let gradients = match &tokens.batch {
            Some(batch) => {
                let gradients = self.overlapped(group, model, objective, (embedded, batch))?;
                group.all_reduce(&[&sum])?;
                gradients
            }
            None => {
                let gradients = model.gradients(objective, embedded, &tokens.own)?;
                let contiguous = |gradient: &Tensor| gradient.f_contiguous();
                let gradients: Vec<_> =
                    gradients.iter().map(contiguous).collect::<Result<_, _>>()?;
                let mut all = vec![&sum];
                all.extend(&gradients);
                group.all_reduce(&all)?;
                gradients
            }
        };
        let scale = 1.0 / tokens.of_batch as f64;
        let loss = sum.f_mul_scalar(scale)?.f_to_kind(loss.mean.kind())?;
        Ok((gradients, loss))
    }

    /// Whether the tokens of the whole batch are needed.
    pub fn needs_all_tokens(&self) -> bool {
        self.group.is_some() && self.overlaps
    }

    /// Sums gradients while backward makes others. That of the softmax, the largest, comes first. The embedding is
    /// tied to it and comes last: its rows are gathered, since they are few, and each process adds those of all.
    fn overlapped(
        &self,
        group: &ProcessGroup,
        model: &QrnnLm,
        objective: &Tensor,
        (embedded, tokens): (&Tensor, &Tensor),
    ) -> Result<Vec<Tensor>> {
        let parameters = model.parameters();
        let (layers, softmax): (Vec<_>, Vec<_>) =
            parameters.iter().partition(|(name, _)| name.starts_with("rnns."));
        let order = softmax.iter().chain(layers.iter().rev()).map(|(_, tensor)| *tensor);
        let sums = group.sum_gradients(&order.collect::<Vec<_>>())?;
        let (mut gradients, rows) = model.backward(objective, embedded)?;
        sums.finish()?;
        let rows = self.gather_columns(group, &rows, 1)?;
        model.add_embedding(&mut gradients, tokens, &rows, AdditionOrder::Fixed)?;
        Ok(gradients)
    }
}
