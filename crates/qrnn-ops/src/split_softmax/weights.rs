//! Parameters of a split softmax.

use tch::{Kind, Tensor};

use super::clusters::Clusters;
use crate::Result;
use crate::matmul::{Precision, augmented_row, write_augmented};

/// Parameters of a split softmax of V tokens on hidden states of E features.
#[derive(Debug)]
pub struct SoftmaxWeights {
    /// (V, E); the embedding, if weights are tied.
    pub weight: Tensor,
    /// (V).
    pub bias: Tensor,
    /// The tombstones: (tails, E) and (tails).
    pub tail: Option<(Tensor, Tensor)>,
}

impl SoftmaxWeights {
    /// Weight and bias of the head: its tokens, then the tombstones.
    pub(super) fn head(&self, clusters: &Clusters) -> Result<(Tensor, Tensor)> {
        let size = clusters.head_size() as i64;
        let (weight, bias) = (self.weight.f_narrow(0, 0, size)?, self.bias.f_narrow(0, 0, size)?);
        Ok(match &self.tail {
            None => (weight, bias),
            Some((vectors, scalars)) => {
                (Tensor::f_cat(&[&weight, vectors], 0)?, Tensor::f_cat(&[&bias, scalars], 0)?)
            }
        })
    }

    /// Weight and bias of tail k.
    pub(super) fn tail(&self, clusters: &Clusters, k: usize) -> Result<(Tensor, Tensor)> {
        let (start, size) = clusters.tail(k);
        Ok((
            self.weight.f_narrow(0, start as i64, size as i64)?,
            self.bias.f_narrow(0, start as i64, size as i64)?,
        ))
    }

    /// Weights and biases of the tombstones, then those of the tokens.
    fn stacked(&self) -> Vec<(&Tensor, &Tensor)> {
        let tail = self.tail.as_ref().map(|(vectors, scalars)| (vectors, scalars));
        tail.into_iter().chain([(&self.weight, &self.bias)]).collect()
    }

    pub(super) fn tensors(&self) -> Vec<&Tensor> {
        let mut all = vec![&self.weight, &self.bias];
        if let Some((vectors, scalars)) = &self.tail {
            all.extend([vectors, scalars]);
        }
        all
    }
}

/// How a softmax computes its logits.
#[derive(Debug, Clone, Copy)]
pub struct Computation<'a> {
    pub precision: Precision,
    /// On a GPU, the [`operand`] of the weights; `None` computes it.
    pub operand: Option<&'a Tensor>,
}

/// The bias of a padding class, whose probability is then exactly 0; finite in all formats.
const NEVER: f64 = -1e30;

/// Weights and biases of all classes as one operand of the matrix products on a GPU: padding, the tombstones,
/// the tokens, padding ([`Clusters::tokens_row`]).
///
/// # Errors
/// [`crate::Error::Torch`] if memory runs out.
pub fn operand(clusters: &Clusters, weights: &SoftmaxWeights, kind: Kind) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let width = weights.weight.size2()?.1;
    let size = [clusters.operand_rows() as i64, augmented_row(width)];
    let operand = Tensor::f_zeros(size, (kind, weights.weight.device()))?;
    let _ = operand.f_select(1, width)?.f_fill_(NEVER)?;
    write_operand(clusters, weights, &operand)?;
    Ok(operand)
}

/// Writes weights and biases into a result of [`operand`].
///
/// # Errors
/// [`crate::Error::Torch`] if shapes do not match.
pub fn write_operand(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    operand: &Tensor,
) -> Result<()> {
    let (first, rows) = (clusters.tombstones_row(), clusters.tails() + clusters.vocab);
    write_augmented(&operand.f_narrow(0, first as i64, rows as i64)?, &weights.stacked())
}
