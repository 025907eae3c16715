//! The loss of a model, and the log probabilities of the next token.

use tch::Tensor;

use super::lm::QrnnLm;
use crate::Result;
use qrnn_ops::matmul::Features;
use qrnn_ops::split_softmax::{self, Computation, DeviceTargets, Targets, UpstreamGrad};
use qrnn_ops::{cuda, libtorch};

impl QrnnLm {
    /// The mean cross entropy of `targets`, in nats per token; differentiable.
    ///
    /// * `output`: (seq, batch, E) of [`QrnnLm::forward`];
    /// * `targets`: seq × batch token ids, row by row.
    pub fn loss(&self, output: &Tensor, targets: &[i64]) -> Result<Tensor> {
        let targets = Targets::of(&self.clusters, targets, self.options.1)?;
        self.mean_loss(&Features::of(&[output], None)?, targets, UpstreamGrad::Any)
    }

    /// As [`QrnnLm::loss`], if the gradient of the objective with respect to the loss is 1.
    pub(crate) fn training_loss(&self, output: &Features, targets: Targets) -> Result<Tensor> {
        self.mean_loss(output, targets, UpstreamGrad::One)
    }

    fn mean_loss(
        &self,
        output: &Features,
        targets: Targets,
        upstream: UpstreamGrad,
    ) -> Result<Tensor> {
        let operand = self.operands()?.map(|operands| &operands.softmax);
        let computation = Computation { precision: self.precision, operand };
        let (clusters, weights) = (&self.clusters, &self.softmax);
        Ok(split_softmax::mean_loss(clusters, weights, output, targets, computation, upstream)?)
    }

    /// The summed cross entropy, in nats, without gradients. Arguments as for [`QrnnLm::loss`].
    pub fn loss_sum(&self, output: &Tensor, targets: &[i64]) -> Result<f64> {
        let targets = Targets::of(&self.clusters, targets, self.options.1)?;
        self.loss_sum_of(&Features::of(&[output], None)?, &targets)
    }

    /// As [`QrnnLm::loss_sum`], for targets of [`QrnnLm::upload_batch`].
    pub(crate) fn loss_sum_of(&self, output: &Features, targets: &Targets) -> Result<f64> {
        let operand = self.operands()?.map(|operands| &operands.softmax);
        let computation = Computation { precision: self.precision, operand };
        let (clusters, weights) = (&self.clusters, &self.softmax);
        Ok(split_softmax::loss_sum(clusters, weights, output, targets, computation)?)
    }

    /// The cross entropy of each target, (seq × batch) of kind Double on the model's device, in nats, without
    /// gradients. Arguments as for [`QrnnLm::loss`].
    pub fn token_losses(&self, output: &Tensor, targets: &[i64]) -> Result<Tensor> {
        let targets = Targets::of(&self.clusters, targets, self.options.1)?;
        self.token_losses_of(&Features::of(&[output], None)?, &targets)
    }

    /// As [`QrnnLm::token_losses`], for targets of [`QrnnLm::upload_batch`].
    pub(crate) fn token_losses_of(&self, output: &Features, targets: &Targets) -> Result<Tensor> {
        let operand = self.operands()?.map(|operands| &operands.softmax);
        let computation = Computation { precision: self.precision, operand };
        let (clusters, weights) = (&self.clusters, &self.softmax);
        Ok(split_softmax::token_losses(clusters, weights, output, targets, computation)?)
    }

    /// Copies a batch to the model's device. Returns the token ids, (seq, batch), and the targets for the
    /// softmax. For CUDA, this is a single asynchronous copy.
    ///
    /// * `tokens`, `targets`: seq × batch token ids, row by row.
    ///
    /// # Errors
    /// [`crate::Error::Ops`] if memory runs out.
    pub(crate) fn upload_batch(
        &self,
        tokens: &[i64],
        targets: Vec<i64>,
        batch: usize,
    ) -> Result<(Tensor, Targets)> {
        let device = self.options.1;
        let (tokens, targets) = if cuda::is_gpu(device) {
            let (tokens, targets) =
                DeviceTargets::upload(&self.clusters, tokens, &targets, device)?;
            (tokens, Targets::Device(targets))
        } else {
            (libtorch::upload(tokens, device)?, Targets::Host(targets))
        };
        Ok((tokens.f_view([-1, batch as i64])?, targets))
    }

    /// The log probabilities of the next token, (seq × batch, V).
    ///
    /// * `output`: (seq, batch, E) of [`QrnnLm::forward`].
    pub fn log_probabilities(&self, output: &Tensor) -> Result<Tensor> {
        let output = self.flat(output)?;
        Ok(split_softmax::log_probabilities(&self.clusters, &self.softmax, &output)?)
    }

    pub(super) fn flat(&self, output: &Tensor) -> Result<Tensor> {
        Ok(output.f_reshape([-1, self.config.emsize as i64])?)
    }
}
