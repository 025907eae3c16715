//! The split softmax of packed weights, on the CPU and without gradients.

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use super::clusters::Clusters;
use super::cpu::CHUNK;
use super::cross_entropy::cross_entropy_of_rows;
use super::probabilities::of_all_clusters;
use super::weights::SoftmaxWeights;
use crate::matmul::PackedLinear;
use crate::{Error, Result};

/// The parameters of a split softmax, with its weights as packed matrices.
#[derive(Debug)]
pub struct PackedSoftmax {
    clusters: Clusters,
    /// Like [`SoftmaxWeights::weights`], without bias.
    weights: Vec<PackedLinear>,
    /// Like the first of [`SoftmaxWeights::tail`], without bias.
    tombstones: Option<PackedLinear>,
    /// (V).
    bias: Tensor,
    /// The biases of the head's tokens, then of the tombstones.
    head_bias: Tensor,
}

/// Consecutive classes of one softmax: rows of a weight, and their inputs (tokens, width).
struct Block<'a> {
    weight: &'a PackedLinear,
    rows: Range<usize>,
    hidden: Tensor,
}

impl PackedSoftmax {
    /// * `weights`: one (V, E), or one for each cluster, (tokens, width), without bias;
    /// * `tombstones`: (tails, E), without bias; `None` without tails;
    /// * `parameters`: of which the biases are read.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many weights as clusters, or other numbers of rows.
    pub fn new(
        clusters: &Clusters,
        weights: Vec<PackedLinear>,
        tombstones: Option<PackedLinear>,
        parameters: &SoftmaxWeights,
    ) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        let expected: Vec<usize> = match clusters.share_weight() {
            true => vec![clusters.vocab],
            false => (0..clusters.len()).map(|cluster| clusters.cluster(cluster).1).collect(),
        };
        let rows: Vec<usize> = weights.iter().map(PackedLinear::rows).collect();
        let tails = tombstones.as_ref().map_or(0, PackedLinear::rows);
        if rows != expected || tails != clusters.tails() {
            return Err(Error::shape(
                "a packed softmax",
                format!("its weights have {rows:?} rows, and {tails} tombstones"),
                format!("pass {expected:?} rows, and {} tombstones", clusters.tails()),
            ));
        }
        let bias = parameters.bias.f_detach()?.f_to_kind(Kind::Float)?.f_contiguous()?;
        let of_tokens = bias.f_narrow(0, 0, clusters.head_size() as i64)?;
        let head_bias = match &parameters.tail {
            Some((_, scalars)) => Tensor::f_cat(&[&of_tokens, scalars], 0)?.f_detach()?,
            None => of_tokens,
        };
        Ok(Self { clusters: clusters.clone(), weights, tombstones, bias, head_bias })
    }

    /// The cross entropy of each target, in nats.
    ///
    /// * `hidden`: (tokens, E), then the projection of it to each cluster that has one, (tokens, width).
    ///
    /// # Errors
    /// [`Error::Torch`] if memory runs out; [`Error::Shape`] if shapes do not match.
    pub fn token_losses(&self, hidden: &[Tensor], tokens: &[i64]) -> Result<Vec<f64>> {
        let _no_grad = tch::no_grad_guard();
        let clusters = &self.clusters;
        let (head, tails) = clusters.sort(tokens);
        let of_head = [&hidden[0], &hidden[clusters.hidden_of(0)]];
        let mut losses = vec![0.0; tokens.len()];
        cross_entropies(&self.head(of_head), &self.head_bias, &head, &mut losses)?;
        for (k, tail) in tails.iter().enumerate().filter(|(_, tail)| !tail.rows.is_empty()) {
            let hidden = &hidden[clusters.hidden_of(k + 1)];
            let hidden = hidden.f_index_select(0, &Tensor::f_from_slice(&tail.rows)?)?;
            let (block, bias) = self.tail(k, &hidden)?;
            let mut in_tail = vec![0.0; tail.targets.len()];
            cross_entropies(&[block], &bias, &tail.targets, &mut in_tail)?;
            for (row, loss) in tail.rows.iter().zip(in_tail) {
                losses[*row as usize] += loss;
            }
        }
        Ok(losses)
    }

    /// As [`super::head_log_probabilities`].
    ///
    /// # Errors
    /// [`Error::Shape`] if shapes do not match.
    pub fn head_log_probabilities(&self, hidden: &Tensor, projected: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let logits = logits(&self.head([hidden, projected]))?.f_add(&self.head_bias)?;
        let (size, tails) = (self.clusters.head_size() as i64, self.clusters.tails() as i64);
        let logits = match tails {
            0 | 1 => logits,
            // The first tail's tombstone is the last.
            _ => {
                let tombstones = logits.f_narrow(1, size, tails)?.f_flip([1])?;
                Tensor::f_cat(&[logits.f_narrow(1, 0, size)?, tombstones], 1)?
            }
        };
        Ok(logits.f_log_softmax(-1, None::<Kind>)?)
    }

    /// As [`super::tail_log_probabilities`].
    ///
    /// # Errors
    /// [`Error::Shape`] if shapes do not match.
    pub fn tail_log_probabilities(&self, projected: &Tensor, k: usize) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let (block, bias) = self.tail(k, projected)?;
        Ok(logits(&[block])?.f_add(&bias)?.f_log_softmax(-1, None::<Kind>)?)
    }

    /// As [`super::log_probabilities`].
    ///
    /// # Errors
    /// [`Error::Shape`] if shapes do not match.
    pub fn log_probabilities(&self, hidden: &[Tensor]) -> Result<Tensor> {
        let states = |cluster: usize| &hidden[self.clusters.hidden_of(cluster)];
        let head = self.head_log_probabilities(&hidden[0], states(0))?;
        of_all_clusters(&self.clusters, &head, |k| self.tail_log_probabilities(states(k + 1), k))
    }

    /// The head's classes: its tokens, then the tombstones.
    ///
    /// * `hidden`: the hidden states, and their projection to the head.
    fn head(&self, [hidden, projected]: [&Tensor; 2]) -> Vec<Block<'_>> {
        let rows = 0..self.clusters.head_size();
        let hidden = hidden.shallow_clone();
        let tokens = Block { weight: &self.weights[0], rows, hidden: projected.shallow_clone() };
        let tombstones =
            self.tombstones.as_ref().map(|weight| Block { weight, rows: 0..weight.rows(), hidden });
        [Some(tokens), tombstones].into_iter().flatten().collect()
    }

    /// The classes of tail k, and their bias.
    fn tail(&self, k: usize, hidden: &Tensor) -> Result<(Block<'_>, Tensor)> {
        let (first, size) = self.clusters.tail(k);
        let (weight, rows) = match self.clusters.share_weight() {
            true => (&self.weights[0], first..first + size),
            false => (&self.weights[k + 1], 0..size),
        };
        let bias = self.bias.f_narrow(0, first as i64, size as i64)?;
        Ok((Block { weight, rows, hidden: hidden.shallow_clone() }, bias))
    }
}

/// The cross entropy of each target.
///
/// * `blocks`: the classes, in order, of the same tokens; `bias`: (classes).
fn cross_entropies(
    blocks: &[Block<'_>],
    bias: &Tensor,
    targets: &[i64],
    losses: &mut [f64],
) -> Result<()> {
    let classes: usize = blocks.iter().map(|block| block.rows.len()).sum();
    let chunk = (CHUNK / classes.max(1)).clamp(1, targets.len().max(1));
    let buffer = Tensor::f_empty([chunk as i64, classes as i64], (Kind::Float, Device::Cpu))?;
    for (i, (targets, losses)) in targets.chunks(chunk).zip(losses.chunks_mut(chunk)).enumerate() {
        let logits = buffer.f_narrow(0, 0, targets.len() as i64)?;
        multiply(blocks, (i * chunk, targets.len()), &logits)?;
        cross_entropy_of_rows(&logits, bias, targets, losses)?;
    }
    Ok(())
}

/// The logits of all tokens, without bias.
fn logits(blocks: &[Block<'_>]) -> Result<Tensor> {
    let tokens = blocks.first().map_or(0, |block| block.hidden.size()[0]);
    let classes: usize = blocks.iter().map(|block| block.rows.len()).sum();
    let logits = Tensor::f_empty([tokens, classes as i64], (Kind::Float, Device::Cpu))?;
    multiply(blocks, (0, tokens as usize), &logits)?;
    Ok(logits)
}

/// Computes the logits of some tokens: the first, and their number.
fn multiply(blocks: &[Block<'_>], tokens: (usize, usize), logits: &Tensor) -> Result<()> {
    let mut first = 0;
    for Block { weight, rows, hidden } in blocks {
        let hidden = hidden.f_narrow(0, tokens.0 as i64, tokens.1 as i64)?;
        let classes = rows.len() as i64;
        weight.multiply(&hidden, rows.clone(), &logits.f_narrow(1, first, classes)?)?;
        first += classes;
    }
    Ok(())
}
