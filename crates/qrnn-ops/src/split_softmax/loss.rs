//! The loss of a split softmax, differentiable in the hidden states and all weights.

use tch::{Kind, Tensor};

use super::clusters::Clusters;
use super::cpu::{Gradients, row_indices, softmax_loss};
use super::cuda::CudaSoftmax;
use super::targets::Targets;
use super::weights::{Computation, SoftmaxWeights};
use crate::autograd::{self, Backward, Forward, Function};
use crate::matmul::{Features, Precision};
use crate::{Result, libtorch};

/// The sum of the cross entropy of targets, in nats, without gradients.
///
/// * `hidden`: (tokens, E), augmented on a GPU.
pub fn loss_sum(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &Features,
    targets: &Targets,
    computation: Computation<'_>,
) -> Result<f64> {
    let _no_grad = tch::no_grad_guard();
    let tokens = match targets {
        Targets::Host(tokens) => tokens,
        Targets::Device(targets) => {
            let options = (hidden.all.kind(), hidden.all.device());
            let softmax = CudaSoftmax::new(clusters, weights, options, computation)?;
            let sum = softmax.loss_sum(&flat(hidden)?, targets)?;
            return Ok(libtorch::download(&sum)?[0]);
        }
    };
    let precision = computation.precision;
    let hidden = &flat(hidden)?;
    let (head, tails) = clusters.sort(tokens);
    let (weight, bias) = weights.head(clusters)?;
    let mut sum = softmax_loss(hidden, &weight, &bias, &head, precision, None)?;
    for (k, tail) in tails.iter().enumerate().filter(|(_, tail)| !tail.rows.is_empty()) {
        let (weight, bias) = weights.tail(clusters, k)?;
        let rows = hidden.f_index_select(0, &row_indices(tail, hidden)?)?;
        sum += softmax_loss(&rows, &weight, &bias, &tail.targets, precision, None)?;
    }
    Ok(sum)
}

/// The mean cross entropy of targets, in nats per token, differentiable in `hidden` and all
/// weights. Shapes as for [`loss_sum`].
pub fn mean_loss(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &Features,
    targets: Targets,
    computation: Computation<'_>,
    upstream: UpstreamGrad,
) -> Result<Tensor> {
    let function = SplitSoftmax {
        clusters: clusters.clone(),
        targets,
        precision: computation.precision,
        operand: computation.operand.map(Tensor::shallow_clone),
        upstream,
        gradients: vec![],
    };
    let hidden = flat(hidden)?;
    let mut inputs = vec![&hidden];
    inputs.extend(weights.tensors());
    let mut outputs = autograd::apply(function, &inputs)?;
    Ok(outputs.swap_remove(0))
}

/// Hidden states with their padding, (tokens, row).
pub(super) fn flat(hidden: &Features) -> Result<Tensor> {
    Ok(hidden.all.f_reshape([-1, hidden.all.size().last().copied().unwrap_or(1)])?)
}

/// The log probability of every token after each hidden state: (tokens, V).
///
/// * `hidden`: (tokens, E).
pub fn log_probabilities(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &Tensor,
) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let log_softmax = |(weight, bias): (Tensor, Tensor)| -> Result<Tensor> {
        let hidden = hidden.f_to_kind(weight.kind())?;
        Ok(hidden.f_linear(&weight, Some(&bias))?.f_log_softmax(-1, None::<Kind>)?)
    };
    let head = log_softmax(weights.head(clusters)?)?;
    let mut parts = vec![head.f_narrow(1, 0, clusters.head_size() as i64)?];
    for k in 0..clusters.tails() {
        let tail_log_p = head.f_narrow(1, clusters.tombstone(k) as i64, 1)?;
        parts.push(log_softmax(weights.tail(clusters, k)?)?.f_add(&tail_log_p)?);
    }
    Ok(Tensor::f_cat(&parts, 1)?)
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
    precision: Precision,
    operand: Option<Tensor>,
    upstream: UpstreamGrad,
    gradients: Vec<Tensor>,
}

impl Function for SplitSoftmax {
    fn forward(&mut self, inputs: &[&Tensor]) -> Result<Forward> {
        let hidden = inputs[0];
        let weights = SoftmaxWeights {
            weight: inputs[1].shallow_clone(),
            bias: inputs[2].shallow_clone(),
            tail: inputs
                .get(3)
                .zip(inputs.get(4))
                .map(|(v, b)| (v.shallow_clone(), b.shallow_clone())),
        };
        let (scale, precision) = (1.0 / self.targets.tokens() as f64, self.precision);
        let tokens = match &self.targets {
            Targets::Host(tokens) => tokens,
            Targets::Device(targets) => {
                let computation = Computation { precision, operand: self.operand.as_ref() };
                let options = (hidden.kind(), hidden.device());
                let softmax = CudaSoftmax::new(&self.clusters, &weights, options, computation)?;
                let (mean, gradients) = softmax.loss_and_gradients(hidden, targets, scale)?;
                self.gradients = gradients;
                return Ok(Forward { outputs: vec![mean], saved: vec![] });
            }
        };
        let (head, tails) = self.clusters.sort(tokens);

        let (weight, bias) = weights.head(&self.clusters)?;
        let kind = (weights.weight.kind(), hidden.device());
        let mut grad_hidden = Tensor::f_empty(hidden.size(), kind)?;
        let (grad_weight, grad_bias) =
            (weights.weight.f_empty_like()?, weights.bias.f_zeros_like()?);
        let (grad_head, grad_head_bias) = (weight.f_empty_like()?, bias.f_zeros_like()?);
        let gradients =
            Gradients { scale, hidden: &grad_hidden, weight: &grad_head, bias: &grad_head_bias };
        let mut sum = softmax_loss(hidden, &weight, &bias, &head, precision, Some(gradients))?;

        let head_size = self.clusters.head_size() as i64;
        grad_weight.f_narrow(0, 0, head_size)?.f_copy_(&grad_head.f_narrow(0, 0, head_size)?)?;
        grad_bias.f_narrow(0, 0, head_size)?.f_copy_(&grad_head_bias.f_narrow(0, 0, head_size)?)?;
        for (k, tail) in tails.iter().enumerate() {
            let (start, size) = self.clusters.tail(k);
            let mut grad_weight = grad_weight.f_narrow(0, start as i64, size as i64)?;
            let grad_bias = grad_bias.f_narrow(0, start as i64, size as i64)?;
            if tail.rows.is_empty() {
                let _ = grad_weight.f_zero_()?;
                continue;
            }
            let indices = row_indices(tail, hidden)?;
            let rows = hidden.f_index_select(0, &indices)?;
            let grad_rows = Tensor::f_empty(rows.size(), kind)?;
            let (weight, bias) = weights.tail(&self.clusters, k)?;
            let gradients =
                Gradients { scale, hidden: &grad_rows, weight: &grad_weight, bias: &grad_bias };
            sum += softmax_loss(&rows, &weight, &bias, &tail.targets, precision, Some(gradients))?;
            let _ = grad_hidden.f_index_add_(0, &indices, &grad_rows)?;
        }
        self.gradients = vec![grad_hidden, grad_weight, grad_bias];
        let tails = self.clusters.tails() as i64;
        if tails > 0 {
            self.gradients.push(grad_head.f_narrow(0, head_size, tails)?);
            self.gradients.push(grad_head_bias.f_narrow(0, head_size, tails)?);
        }
        let mean = Tensor::f_from_slice(&[sum * scale])?.f_squeeze()?.f_to_kind(kind.0)?;
        Ok(Forward { outputs: vec![mean], saved: vec![] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let Some(factor) = &call.grads[0] else {
            return Ok(self.gradients.iter().map(|_| None).collect());
        };
        // Usually the factor is 1, and a multiplication of the weight's gradient is expensive.
        let is_one = self.upstream == UpstreamGrad::One
            || !factor.device().is_cuda() && factor.f_double_value(&[])? == 1.0;
        self.gradients
            .iter()
            .map(|gradient| {
                Ok(Some(if is_one { gradient.shallow_clone() } else { gradient.f_mul(factor)? }))
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
