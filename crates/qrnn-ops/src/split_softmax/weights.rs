//! The parameters of a split softmax.

use tch::{Kind, Tensor};

use super::clusters::Clusters;
use crate::Result;
use crate::matmul::{Precision, augmented_weight};

/// The parameters of the softmax.
#[derive(Debug)]
pub struct SoftmaxWeights {
    /// (V, E), tied to the embedding.
    pub weight: Tensor,
    /// (V).
    pub bias: Tensor,
    /// The tombstones: (tails, E) and (tails).
    pub tail: Option<(Tensor, Tensor)>,
}

impl SoftmaxWeights {
    /// Weight and bias of the head: its words, then the tombstones.
    pub(super) fn head(&self, clusters: &Clusters) -> Result<(Tensor, Tensor)> {
        let words = clusters.head_words() as i64;
        let (weight, bias) = (self.weight.f_narrow(0, 0, words)?, self.bias.f_narrow(0, 0, words)?);
        Ok(match &self.tail {
            None => (weight, bias),
            Some((vectors, scalars)) => {
                (Tensor::f_cat(&[&weight, vectors], 0)?, Tensor::f_cat(&[&bias, scalars], 0)?)
            }
        })
    }

    /// Weight and bias of a tail.
    pub(super) fn tail(&self, clusters: &Clusters, k: usize) -> Result<(Tensor, Tensor)> {
        let (start, size) = clusters.tail(k);
        Ok((
            self.weight.f_narrow(0, start as i64, size as i64)?,
            self.bias.f_narrow(0, start as i64, size as i64)?,
        ))
    }

    /// Weights and biases of the tombstones, and below them those of the words.
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
    /// On a GPU, what [`operand`] made of the weights; made anew where it is not given.
    pub operand: Option<&'a Tensor>,
}

/// All classes with their biases as one factor of the softmax's products on a GPU: the tombstones,
/// then the words.
///
/// # Errors
/// [`crate::Error::Torch`] where memory runs out.
pub fn operand(weights: &SoftmaxWeights, kind: Kind) -> Result<Tensor> {
    augmented_weight(&weights.stacked(), kind)
}
