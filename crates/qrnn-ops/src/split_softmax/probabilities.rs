//! Log probabilities of tokens, all at once or cluster by cluster.
//!
//! p(token in tail k) = p(tail k) p(token | tail k): to sample a token, sample a class of the head, and read a tail
//! only if its class was sampled.

use tch::{Kind, Tensor};

use super::clusters::Clusters;
use super::weights::SoftmaxWeights;
use crate::Result;

/// The log probabilities of the head: its tokens, then the tails, (tokens, head size + tails). Tail k is class
/// [`Clusters::head_size`] + k.
///
/// * `hidden`: (tokens, E);
/// * `projected`: its projection to the head, (tokens, width); `hidden` itself if the head has none.
pub fn head_log_probabilities(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &Tensor,
    projected: &Tensor,
) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let (weight, bias) = weights.cluster(clusters, 0)?;
    let mut logits = logits(projected, &weight, &bias)?;
    if let Some((vectors, scalars)) = &weights.tail {
        // The first tail's tombstone is the last.
        let tombstones = self::logits(hidden, vectors, scalars)?.f_flip([1])?;
        logits = Tensor::f_cat(&[logits, tombstones], 1)?;
    }
    Ok(logits.f_log_softmax(-1, None::<Kind>)?)
}

/// The log probabilities of the tokens of tail k given that the token is in it, (tokens, size).
///
/// * `projected`: the projection of the hidden states to tail k, (tokens, width); the hidden states, (tokens, E), if
///   it has none.
pub fn tail_log_probabilities(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    projected: &Tensor,
    k: usize,
) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let (weight, bias) = weights.cluster(clusters, k + 1)?;
    Ok(logits(projected, &weight, &bias)?.f_log_softmax(-1, None::<Kind>)?)
}

/// The log probability of every token after each hidden state: (tokens, V).
///
/// * `hidden`: (tokens, E), then the projection of it to each cluster that has one, (tokens, width).
pub fn log_probabilities(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &[Tensor],
) -> Result<Tensor> {
    let states = |cluster: usize| &hidden[clusters.hidden_of(cluster)];
    let head = head_log_probabilities(clusters, weights, &hidden[0], states(0))?;
    of_all_clusters(clusters, &head, |k| {
        tail_log_probabilities(clusters, weights, states(k + 1), k)
    })
}

/// The log probability of every token: (tokens, V).
///
/// * `head`: the log probabilities of the head; `tail`: those of the tokens of a tail given that the token is in it.
pub(super) fn of_all_clusters(
    clusters: &Clusters,
    head: &Tensor,
    tail: impl Fn(usize) -> Result<Tensor>,
) -> Result<Tensor> {
    let size = clusters.head_size() as i64;
    let mut parts = vec![head.f_narrow(1, 0, size)?];
    for k in 0..clusters.tails() {
        let tail_log_p = head.f_narrow(1, size + k as i64, 1)?;
        parts.push(tail(k)?.f_add(&tail_log_p)?);
    }
    Ok(Tensor::f_cat(&parts, 1)?)
}

fn logits(hidden: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(hidden.f_to_kind(weight.kind())?.f_linear(weight, Some(bias))?)
}
