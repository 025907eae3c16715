//! The split softmax on the CPU: the head over all rows, then each tail over the rows of its targets.

use tch::Tensor;

use super::clusters::Clusters;
use super::cpu::{Block, BlockGradients, softmax_loss, softmax_losses};
use super::cross_entropy::Gradient;
use super::targets::TailTargets;
use super::weights::SoftmaxWeights;
use crate::Result;
use crate::matmul::Precision;

/// The split softmax of hidden states and weights.
pub struct HostSoftmax<'a> {
    clusters: &'a Clusters,
    weights: &'a SoftmaxWeights,
    /// The weights of the head's blocks, and the biases of its classes.
    head: (Vec<Tensor>, Tensor),
    hidden: &'a [Tensor],
    precision: Precision,
}

/// Buffers for the gradients of a step, of the weights' kind.
struct Gradients {
    scale: f64,
    /// Like the hidden states; `None` for those that no logit is a product with.
    hidden: Vec<Option<Tensor>>,
    /// Like the weights.
    weights: Vec<Tensor>,
    /// (V).
    bias: Tensor,
    /// Like the weights of the head's blocks.
    head: Vec<Tensor>,
    /// Like the bias of the head.
    head_bias: Tensor,
}

impl<'a> HostSoftmax<'a> {
    /// * `hidden`: the hidden states, (tokens, E), then their projections, (tokens, width).
    pub fn new(
        clusters: &'a Clusters,
        weights: &'a SoftmaxWeights,
        hidden: &'a [Tensor],
        precision: Precision,
    ) -> Result<Self> {
        Ok(Self { clusters, weights, head: weights.head(clusters)?, hidden, precision })
    }

    /// The summed cross entropy of the targets, in nats.
    pub fn loss_sum(&self, tokens: &[i64]) -> Result<f64> {
        self.run(tokens, None)
    }

    /// The cross entropy of each target, in nats.
    pub fn token_losses(&self, tokens: &[i64]) -> Result<Vec<f64>> {
        let Self { clusters, weights, head: (head_weights, bias), hidden, precision } = self;
        let (head, tails) = clusters.sort(tokens);
        let states = [clusters.hidden_of(0), 0];
        let block = |(weight, state): (&Tensor, usize)| Block {
            hidden: hidden[state].shallow_clone(),
            weight: weight.shallow_clone(),
            gradients: None,
        };
        let blocks: Vec<Block> = head_weights.iter().zip(states).map(block).collect();
        let mut losses = softmax_losses(&blocks, bias, &head, *precision)?;
        for (k, tail) in tails.iter().enumerate().filter(|(_, tail)| !tail.rows.is_empty()) {
            let (weight, bias) = weights.cluster(clusters, k + 1)?;
            let hidden = &hidden[clusters.hidden_of(k + 1)];
            let hidden = hidden.f_index_select(0, &Tensor::f_from_slice(&tail.rows)?)?;
            let blocks = [Block { hidden, weight, gradients: None }];
            let in_tail = softmax_losses(&blocks, &bias, &tail.targets, *precision)?;
            for (row, loss) in tail.rows.iter().zip(in_tail) {
                losses[*row as usize] += loss;
            }
        }
        Ok(losses)
    }

    /// The summed cross entropy, and its gradients times `scale`: of the hidden states, the weights, the bias and,
    /// if there are tails, the weights and biases of the tombstones.
    pub fn loss_and_gradients(
        &self,
        tokens: &[i64],
        scale: f64,
    ) -> Result<(f64, Vec<Option<Tensor>>)> {
        let gradients = self.gradients(scale)?;
        let sum = self.run(tokens, Some(&gradients))?;
        let Gradients { hidden, weights, bias, head, head_bias, .. } = gradients;
        let mut all = hidden;
        all.extend(weights.into_iter().map(Some));
        all.push(Some(bias));
        let (size, tails) = (self.clusters.head_size() as i64, self.clusters.tails() as i64);
        if tails > 0 {
            let vectors = match &head[..] {
                [all] => all.f_narrow(0, size, tails)?,
                blocks => blocks[1].shallow_clone(),
            };
            all.extend([Some(vectors), Some(head_bias.f_narrow(0, size, tails)?)]);
        }
        Ok((sum, all))
    }

    fn gradients(&self, scale: f64) -> Result<Gradients> {
        let Self { clusters, weights, hidden, head: (head_weights, head_bias), .. } = self;
        let kind = (weights.weights[0].kind(), weights.bias.device());
        let of_head = |i: usize| clusters.head_blocks().iter().any(|block| block.hidden == i);
        let of_tail =
            |i: usize| (1..clusters.len()).any(|cluster| clusters.hidden_of(cluster) == i);
        let hidden = hidden.iter().enumerate().map(|(i, hidden)| {
            Ok(if of_head(i) {
                Some(Tensor::f_empty(hidden.size(), kind)?)
            } else if of_tail(i) {
                Some(Tensor::f_zeros(hidden.size(), kind)?)
            } else {
                None
            })
        });
        Ok(Gradients {
            scale,
            hidden: hidden.collect::<Result<_>>()?,
            weights: weights.weights.iter().map(Tensor::f_empty_like).collect::<Result<_, _>>()?,
            bias: weights.bias.f_zeros_like()?,
            head: head_weights.iter().map(Tensor::f_empty_like).collect::<Result<_, _>>()?,
            head_bias: head_bias.f_zeros_like()?,
        })
    }

    fn run(&self, tokens: &[i64], gradients: Option<&Gradients>) -> Result<f64> {
        let (head, tails) = self.clusters.sort(tokens);
        let mut sum = self.head(&head, gradients)?;
        for (k, tail) in tails.iter().enumerate() {
            sum += self.tail(k, tail, gradients)?;
        }
        Ok(sum)
    }

    fn head(&self, targets: &[i64], gradients: Option<&Gradients>) -> Result<f64> {
        let Self { clusters, head: (head_weights, bias), .. } = self;
        // The tokens' block, then the tombstones' if they are separate.
        let states = [clusters.hidden_of(0), 0];
        let block = |(i, (weight, state)): (usize, (&Tensor, usize))| -> Result<Block> {
            let gradients = gradients.and_then(|gradients| {
                let (hidden, weight) = (gradients.hidden[state].as_ref()?, &gradients.head[i]);
                Some(BlockGradients {
                    hidden: hidden.shallow_clone(),
                    weight: weight.shallow_clone(),
                })
            });
            let hidden = self.hidden[state].shallow_clone();
            Ok(Block { hidden, weight: weight.shallow_clone(), gradients })
        };
        let blocks = head_weights.iter().zip(states).enumerate().map(block);
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        let gradient = gradients
            .map(|gradients| Gradient { scale: gradients.scale, sums: &gradients.head_bias });
        let sum = softmax_loss(&blocks, bias, targets, self.precision, gradient)?;
        if let Some(gradients) = gradients {
            let size = clusters.head_size() as i64;
            let mut tokens = SoftmaxWeights::part(clusters, &gradients.weights, 0)?;
            tokens.f_copy_(&gradients.head[0].f_narrow(0, 0, size)?)?;
            let mut bias = gradients.bias.f_narrow(0, 0, size)?;
            bias.f_copy_(&gradients.head_bias.f_narrow(0, 0, size)?)?;
        }
        Ok(sum)
    }

    fn tail(&self, k: usize, tail: &TailTargets, gradients: Option<&Gradients>) -> Result<f64> {
        let (clusters, cluster) = (self.clusters, k + 1);
        let grad_weight = match gradients {
            Some(gradients) => Some(SoftmaxWeights::part(clusters, &gradients.weights, cluster)?),
            None => None,
        };
        if tail.rows.is_empty() {
            if let Some(mut weight) = grad_weight {
                let _ = weight.f_zero_()?;
            }
            return Ok(0.0);
        }
        let state = clusters.hidden_of(cluster);
        let indices = Tensor::f_from_slice(&tail.rows)?;
        let hidden = self.hidden[state].f_index_select(0, &indices)?;
        let (weight, bias) = self.weights.cluster(clusters, cluster)?;
        let (Some(gradients), Some(grad_weight)) = (gradients, grad_weight) else {
            let blocks = [Block { hidden, weight, gradients: None }];
            return softmax_loss(&blocks, &bias, &tail.targets, self.precision, None);
        };
        let (first, size) = clusters.cluster(cluster);
        let grad_bias = gradients.bias.f_narrow(0, first as i64, size as i64)?;
        let grad_rows = Tensor::f_empty(hidden.size(), (grad_weight.kind(), grad_bias.device()))?;
        let of_block = BlockGradients { hidden: grad_rows.shallow_clone(), weight: grad_weight };
        let blocks = [Block { hidden, weight, gradients: Some(of_block) }];
        let gradient = Gradient { scale: gradients.scale, sums: &grad_bias };
        let sum = softmax_loss(&blocks, &bias, &tail.targets, self.precision, Some(gradient))?;
        if let Some(hidden) = &gradients.hidden[state] {
            let _ = hidden.shallow_clone().f_index_add_(0, &indices, &grad_rows)?;
        }
        Ok(sum)
    }
}
