//! Parameters of a split softmax.

use tch::{Kind, Tensor};

use super::clusters::{Clusters, OperandRows};
use crate::Result;
use crate::matmul::{Precision, augmented_row, write_augmented};

/// Parameters of a split softmax of V tokens on hidden states of E features.
#[derive(Debug)]
pub struct SoftmaxWeights {
    /// One weight (V, E) that all clusters share, or one for each cluster of an adaptive softmax, (tokens, width);
    /// the embedding, if weights are tied.
    pub weights: Vec<Tensor>,
    /// (V).
    pub bias: Tensor,
    /// The tombstones: (tails, E) and (tails).
    pub tail: Option<(Tensor, Tensor)>,
}

impl SoftmaxWeights {
    /// Part of a tensor like `weights` for the tokens of a cluster.
    pub(super) fn part(clusters: &Clusters, weights: &[Tensor], cluster: usize) -> Result<Tensor> {
        if !clusters.share_weight() {
            return Ok(weights[cluster].shallow_clone());
        }
        let (first, size) = clusters.cluster(cluster);
        Ok(weights[0].f_narrow(0, first as i64, size as i64)?)
    }

    /// Weight and bias of the tokens of a cluster.
    pub(super) fn cluster(&self, clusters: &Clusters, cluster: usize) -> Result<(Tensor, Tensor)> {
        let (first, size) = clusters.cluster(cluster);
        let bias = self.bias.f_narrow(0, first as i64, size as i64)?;
        Ok((Self::part(clusters, &self.weights, cluster)?, bias))
    }

    /// The weights of the head's classes, its tokens and then the tombstones, and their biases. One weight, or one
    /// of the tokens and one of the tombstones if these are separate.
    pub(super) fn head(&self, clusters: &Clusters) -> Result<(Vec<Tensor>, Tensor)> {
        let (weight, bias) = self.cluster(clusters, 0)?;
        let Some((vectors, scalars)) = &self.tail else { return Ok((vec![weight], bias)) };
        let bias = Tensor::f_cat(&[&bias, scalars], 0)?;
        Ok(if clusters.tombstones_are_separate() {
            (vec![weight, vectors.shallow_clone()], bias)
        } else {
            (vec![Tensor::f_cat(&[&weight, vectors], 0)?], bias)
        })
    }

    /// Weight, bias and rows of the operand of each weight and of the tombstones.
    fn operand_parts(&self, clusters: &Clusters) -> Result<Vec<(OperandRows, &Tensor, Tensor)>> {
        let mut parts = vec![];
        if let Some((vectors, scalars)) = &self.tail {
            parts.push((clusters.tombstone_rows(), vectors, scalars.shallow_clone()));
        }
        let mut first = 0;
        for (i, weight) in self.weights.iter().enumerate() {
            let rows = weight.size2()?.0;
            parts.push((clusters.token_rows(i), weight, self.bias.f_narrow(0, first, rows)?));
            first += rows;
        }
        Ok(parts)
    }

    /// The tensors, as inputs of an operation.
    pub(super) fn tensors(&self) -> Vec<&Tensor> {
        let mut all: Vec<&Tensor> = self.weights.iter().collect();
        all.push(&self.bias);
        if let Some((vectors, scalars)) = &self.tail {
            all.extend([vectors, scalars]);
        }
        all
    }

    /// The reverse of [`SoftmaxWeights::tensors`].
    pub(super) fn of(clusters: &Clusters, tensors: &[&Tensor]) -> Self {
        let n = if clusters.share_weight() { 1 } else { clusters.len() };
        let copy = |tensor: &&Tensor| tensor.shallow_clone();
        let tail = tensors.get(n + 1).zip(tensors.get(n + 2));
        Self {
            weights: tensors[..n].iter().map(copy).collect(),
            bias: copy(&tensors[n]),
            tail: tail.map(|(vectors, scalars)| (copy(vectors), copy(scalars))),
        }
    }

    /// Features of a row of each operand.
    pub(super) fn operand_widths(&self, clusters: &Clusters) -> Result<Vec<i64>> {
        let separate = self.tail.as_ref().filter(|_| clusters.tombstones_are_separate());
        let tensors = self.weights.iter().chain(separate.map(|(vectors, _)| vectors));
        tensors.map(|tensor| Ok(tensor.size2()?.1)).collect()
    }
}

/// How a softmax computes its logits.
#[derive(Debug, Clone, Copy)]
pub struct Computation<'a> {
    pub precision: Precision,
    /// On a GPU, the [`operands`] of the weights; `None` computes them.
    pub operands: Option<&'a [Tensor]>,
}

/// The bias of a padding class, whose probability is then exactly 0; finite in all formats.
const NEVER: f64 = -1e30;

/// Weights and biases of all classes as operands of the matrix products on a GPU: one if the clusters share a
/// weight, otherwise one for each cluster, and one of the tombstones if the head's tokens have a projection
/// ([`Clusters::token_rows`], [`Clusters::tombstone_rows`]).
///
/// # Errors
/// [`crate::Error::Torch`] if memory runs out.
pub fn operands(clusters: &Clusters, weights: &SoftmaxWeights, kind: Kind) -> Result<Vec<Tensor>> {
    let _no_grad = tch::no_grad_guard();
    let widths = weights.operand_widths(clusters)?;
    let operand = |(rows, width): (usize, i64)| -> Result<Tensor> {
        let size = [rows as i64, augmented_row(width)];
        let operand = Tensor::f_zeros(size, (kind, weights.bias.device()))?;
        let _ = operand.f_select(1, width)?.f_fill_(NEVER)?;
        Ok(operand)
    };
    let sizes = clusters.operand_sizes().into_iter().zip(widths);
    let operands = sizes.map(operand).collect::<Result<Vec<_>>>()?;
    write_operands(clusters, weights, &operands)?;
    Ok(operands)
}

/// Writes weights and biases into the results of [`operands`].
///
/// # Errors
/// [`crate::Error::Torch`] if shapes do not match.
pub fn write_operands(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    operands: &[Tensor],
) -> Result<()> {
    for (OperandRows { operand, first, rows }, weight, bias) in weights.operand_parts(clusters)? {
        let part = operands[operand].f_narrow(0, first as i64, rows as i64)?;
        write_augmented(&part, &[(weight, &bias)])?;
    }
    Ok(())
}
