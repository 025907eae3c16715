//! The loss of a model, and the log probabilities of the next token.

use tch::Tensor;

use super::lm::QrnnLm;
use super::operands::Operands;
use crate::Result;
use qrnn_ops::matmul::{Features, project};
use qrnn_ops::split_softmax::{
    self, Clusters, Computation, DeviceTargets, LossShare, Targets, UpstreamGrad,
};
use qrnn_ops::{cuda, libtorch};

impl QrnnLm {
    /// The mean cross entropy of `targets`, in nats per token; differentiable.
    ///
    /// * `output`: (seq, batch, E) of [`QrnnLm::forward`];
    /// * `targets`: seq × batch token ids, row by row.
    pub fn loss(&self, output: &Tensor, targets: &[i64]) -> Result<Tensor> {
        let targets = Targets::of(&self.clusters, targets, self.options.1)?;
        let tokens = targets.tokens();
        let features = Features::of(&[output], None)?;
        Ok(self.loss_share(&features, (targets, tokens), UpstreamGrad::Any)?.mean)
    }

    /// The part of the mean loss over `tokens` tokens that these targets make up, if the gradient of the objective
    /// with respect to the loss is 1.
    pub(crate) fn training_loss(
        &self,
        output: &Features,
        targets: Targets,
        tokens: usize,
    ) -> Result<LossShare> {
        self.loss_share(output, (targets, tokens), UpstreamGrad::One)
    }

    fn loss_share(
        &self,
        output: &Features,
        targets: (Targets, usize),
        upstream: UpstreamGrad,
    ) -> Result<LossShare> {
        let operands = self.operands()?;
        let hidden = self.hidden_states(output, operands)?;
        let operands = operands.map(|operands| &operands.softmax[..]);
        let computation = Computation { precision: self.precision, operands };
        let (clusters, weights) = (&self.clusters, &self.softmax);
        Ok(split_softmax::loss_share(clusters, weights, &hidden, targets, computation, upstream)?)
    }

    /// The summed cross entropy, in nats, without gradients. Arguments as for [`QrnnLm::loss`].
    pub fn loss_sum(&self, output: &Tensor, targets: &[i64]) -> Result<f64> {
        let targets = Targets::of(&self.clusters, targets, self.options.1)?;
        self.loss_sum_of(&Features::of(&[output], None)?, &targets)
    }

    /// As [`QrnnLm::loss_sum`], for targets of [`QrnnLm::upload_batch`].
    pub(crate) fn loss_sum_of(&self, output: &Features, targets: &Targets) -> Result<f64> {
        if let Some(losses) = self.packed_token_losses(output, targets)? {
            return Ok(losses.iter().sum());
        }
        let operands = self.operands()?;
        let hidden = self.hidden_states(output, operands)?;
        let operands = operands.map(|operands| &operands.softmax[..]);
        let computation = Computation { precision: self.precision, operands };
        let (clusters, weights) = (&self.clusters, &self.softmax);
        Ok(split_softmax::loss_sum(clusters, weights, &hidden, targets, computation)?)
    }

    /// The hidden states of the softmax: the output, and the projections Pᵀ h of it to the clusters that have one,
    /// (seq, batch, width).
    pub(super) fn hidden_states(
        &self,
        output: &Features,
        operands: Option<&Operands>,
    ) -> Result<Vec<Features>> {
        let mut all = vec![Features { all: output.all.shallow_clone(), width: output.width }];
        for (k, matrix) in self.projections.iter().enumerate() {
            let Some(matrix) = matrix else { continue };
            let operand = operands.and_then(|operands| operands.projections[k].as_ref());
            let projected = project(output, matrix, self.precision, operand)?;
            all.push(self.rounded_features(self.product_of_cluster(k), projected, operands)?);
        }
        Ok(all)
    }

    /// The cross entropy of each target, (seq × batch) of kind Double on the model's device, in nats, without
    /// gradients. Arguments as for [`QrnnLm::loss`].
    pub fn token_losses(&self, output: &Tensor, targets: &[i64]) -> Result<Tensor> {
        let targets = Targets::of(&self.clusters, targets, self.options.1)?;
        self.token_losses_of(&Features::of(&[output], None)?, &targets)
    }

    /// As [`QrnnLm::token_losses`], for targets of [`QrnnLm::upload_batch`].
    pub(crate) fn token_losses_of(&self, output: &Features, targets: &Targets) -> Result<Tensor> {
        if let Some(losses) = self.packed_token_losses(output, targets)? {
            return Ok(Tensor::f_from_slice(&losses)?);
        }
        let operands = self.operands()?;
        let hidden = self.hidden_states(output, operands)?;
        let operands = operands.map(|operands| &operands.softmax[..]);
        let computation = Computation { precision: self.precision, operands };
        let (clusters, weights) = (&self.clusters, &self.softmax);
        Ok(split_softmax::token_losses(clusters, weights, &hidden, targets, computation)?)
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
        if let Some(log_p) = self.packed_log_probabilities(output)? {
            return Ok(log_p);
        }
        let output = self.flat(output)?;
        let mut hidden = vec![output.shallow_clone()];
        for k in (0..self.projections.len()).filter(|k| self.projections[*k].is_some()) {
            hidden.push(self.projected(&output, k)?);
        }
        Ok(split_softmax::log_probabilities(&self.clusters, &self.softmax, &hidden)?)
    }

    /// The log probabilities of the head of the next token's softmax, (seq × batch, head size + tails): of the tokens
    /// in the head, then of the tails. `Clusters::head_size` of [`QrnnLm::clusters`] is the class of tail 0. Without
    /// tails, these are the [`QrnnLm::log_probabilities`].
    ///
    /// * `output`: (seq, batch, E) of [`QrnnLm::forward`].
    pub fn head_log_probabilities(&self, output: &Tensor) -> Result<Tensor> {
        let output = self.flat(output)?;
        let (clusters, weights) = (&self.clusters, &self.softmax);
        let projected = self.projected(&output, 0)?;
        if let Some(packed) = self.packed_products()? {
            return Ok(packed.softmax.head_log_probabilities(&output, &projected)?);
        }
        Ok(split_softmax::head_log_probabilities(clusters, weights, &output, &projected)?)
    }

    /// The log probabilities of the next token's class in tail `k`, counted from 0, given that it is in this tail,
    /// (seq × batch, size). The tail's first token and size are `Clusters::tail` of [`QrnnLm::clusters`].
    ///
    /// * `output`: (seq, batch, E) of [`QrnnLm::forward`].
    pub fn tail_log_probabilities(&self, output: &Tensor, k: usize) -> Result<Tensor> {
        let projected = self.projected(&self.flat(output)?, k + 1)?;
        if let Some(packed) = self.packed_products()? {
            return Ok(packed.softmax.tail_log_probabilities(&projected, k)?);
        }
        Ok(split_softmax::tail_log_probabilities(&self.clusters, &self.softmax, &projected, k)?)
    }

    /// The clusters of the softmax.
    pub fn clusters(&self) -> &Clusters {
        &self.clusters
    }
}
