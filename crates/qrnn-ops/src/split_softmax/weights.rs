//! Parameters of a split softmax.

use tch::{Kind, Tensor};

use super::clusters::Clusters;
use crate::Result;
use crate::matmul::{Precision, augmented_weight};

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

    /// Weights and biases of the tombstones, then those of the tokens: the parts of [`operand`].
    pub fn stacked(&self) -> Vec<(&Tensor, &Tensor)> {
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

/// Weights and biases of all classes as one operand of the matrix products on a GPU: the tombstones, then
/// the tokens.
///
/// # Errors
/// [`crate::Error::Torch`] if memory runs out.
pub fn operand(weights: &SoftmaxWeights, kind: Kind) -> Result<Tensor> {
    augmented_weight(&weights.stacked(), kind)
}
