//! The loss of a split softmax, differentiable in the hidden states and all weights.

use tch::{Device, Kind, Tensor};

use super::clusters::Clusters;
use super::cuda::CudaSoftmax;
use super::host::HostSoftmax;
use super::targets::Targets;
use super::weights::{Computation, SoftmaxWeights};
use crate::autograd::{self, Backward, Forward, Function};
use crate::matmul::{Features, Precision};
use crate::{Error, Result, libtorch};

/// The sum of the cross entropy of targets, in nats, without gradients.
///
/// * `hidden`: (tokens, E), augmented on a GPU; then the projection of it to each cluster that has one
///   ([`Clusters::adaptive`]), (tokens, width).
pub fn loss_sum(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &[Features],
    targets: &Targets,
    computation: Computation<'_>,
) -> Result<f64> {
    let _no_grad = tch::no_grad_guard();
    let hidden = flat(hidden)?;
    match targets {
        Targets::Host(tokens) => {
            HostSoftmax::new(clusters, weights, &hidden, computation.precision)?.loss_sum(tokens)
        }
        Targets::Device(targets) => {
            let softmax = CudaSoftmax::new(clusters, weights, options(&hidden), computation)?;
            Ok(libtorch::download(&softmax.loss_sum(&hidden, targets)?)?[0])
        }
    }
}

/// The mean cross entropy of targets, in nats per token, differentiable in `hidden` and all
/// weights. Shapes as for [`loss_sum`].
pub fn mean_loss(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &[Features],
    targets: Targets,
    computation: Computation<'_>,
    upstream: UpstreamGrad,
) -> Result<Tensor> {
    let tokens = targets.tokens();
    let loss = loss_share(clusters, weights, hidden, (targets, tokens), computation, upstream)?;
    Ok(loss.mean)
}

/// The part of a mean loss that these targets make up, where other processes have the others.
#[derive(Debug)]
pub struct LossShare {
    /// Their summed cross entropy divided by the number of all tokens, in nats; differentiable.
    pub mean: Tensor,
    /// Their summed cross entropy, in nats: a scalar of kind Double.
    pub sum: Tensor,
}

/// As [`mean_loss`], for targets that are some of `tokens` tokens: shares and their gradients add up to those of the
/// mean over all tokens.
pub fn loss_share(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &[Features],
    (targets, tokens): (Targets, usize),
    computation: Computation<'_>,
    upstream: UpstreamGrad,
) -> Result<LossShare> {
    let function = SplitSoftmax {
        clusters: clusters.clone(),
        targets,
        scale: 1.0 / tokens as f64,
        precision: computation.precision,
        operands: computation
            .operands
            .map(|operands| operands.iter().map(Tensor::shallow_clone).collect()),
        upstream,
        hidden: hidden.len(),
        gradients: vec![],
    };
    let hidden = flat(hidden)?;
    let mut inputs: Vec<&Tensor> = hidden.iter().collect();
    inputs.extend(weights.tensors());
    let mut outputs = autograd::apply(function, &inputs)?.into_iter();
    let (mean, sum) = (outputs.next(), outputs.next());
    mean.zip(sum)
        .map(|(mean, sum)| LossShare { mean, sum })
        .ok_or_else(|| Error::shape("the split softmax", "a loss is missing", "report this"))
}

/// Hidden states with their padding, (tokens, row).
pub(super) fn flat(hidden: &[Features]) -> Result<Vec<Tensor>> {
    let flat = |hidden: &Features| {
        Ok(hidden.all.f_reshape([-1, hidden.all.size().last().copied().unwrap_or(1)])?)
    };
    hidden.iter().map(flat).collect()
}

/// Kind and device of hidden states.
pub(super) fn options(hidden: &[Tensor]) -> (Kind, Device) {
    hidden.first().map_or((Kind::Float, Device::Cpu), |hidden| (hidden.kind(), hidden.device()))
}

/// Upstream gradient of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamGrad {
    /// Scale by the incoming gradient.
    Any,
    /// Assume 1, which saves a device synchronization.
    One,
}

/// The mean loss. The forward computes the gradients as well, because the logits are not stored;
/// the backward returns them.
struct SplitSoftmax {
    clusters: Clusters,
    targets: Targets,
    /// Divides the sum of the losses by the number of tokens.
    scale: f64,
    precision: Precision,
    operands: Option<Vec<Tensor>>,
    upstream: UpstreamGrad,
    /// Number of hidden states among the inputs, which the weights follow.
    hidden: usize,
    /// Of each input; `None` if the loss does not depend on it.
    gradients: Vec<Option<Tensor>>,
}

impl Function for SplitSoftmax {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let (hidden, weights) = inputs.split_at(self.hidden);
        let hidden: Vec<Tensor> = hidden.iter().map(|hidden| hidden.shallow_clone()).collect();
        let weights = SoftmaxWeights::of(&self.clusters, weights);
        let (scale, precision) = (self.scale, self.precision);
        let (mean, sum, gradients) = match &self.targets {
            Targets::Host(tokens) => {
                let softmax = HostSoftmax::new(&self.clusters, &weights, &hidden, precision)?;
                let (sum, gradients) = softmax.loss_and_gradients(tokens, scale)?;
                let kind = weights.weights[0].kind();
                let scalar = |number: f64| Tensor::f_from_slice(&[number])?.f_squeeze();
                (scalar(sum * scale)?.f_to_kind(kind)?, scalar(sum)?, gradients)
            }
            Targets::Device(targets) => {
                let computation = Computation { precision, operands: self.operands.as_deref() };
                let options = options(&hidden);
                let softmax = CudaSoftmax::new(&self.clusters, &weights, options, computation)?;
                let (sum, gradients) = softmax.loss_and_gradients(&hidden, targets, scale)?;
                (sum.f_mul_scalar(scale)?.f_to_kind(Kind::Float)?, sum, gradients)
            }
        };
        self.gradients = gradients;
        Ok(Forward { outputs: vec![mean, sum], saved: vec![] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let Some(factor) = &call.grads[0] else {
            return Ok(self.gradients.iter().map(|_| None).collect());
        };
        // Usually the factor is 1, and a multiplication of the weight's gradient is expensive.
        let is_one = self.upstream == UpstreamGrad::One
            || !factor.device().is_cuda() && factor.f_double_value(&[])? == 1.0;
        let scaled = |gradient: &Tensor| -> Result<Tensor> {
            Ok(if is_one { gradient.shallow_clone() } else { gradient.f_mul(factor)? })
        };
        self.gradients.iter().map(|gradient| gradient.as_ref().map(scaled).transpose()).collect()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
