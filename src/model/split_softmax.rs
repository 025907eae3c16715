//! The split softmax: a head over the frequent words and one column a tail cluster, and a softmax
//! within each tail (SplitCrossEntropyLoss of awd-lstm-lm; Grave et al. 2017).
//!
//! Words are sorted by cluster on the host, each cluster's logits are made in pieces, and a
//! piece's gradient is taken before the next piece is made: all logits are never held.

mod card;
mod targets;

use card::OnCard;
pub(crate) use card::try_out as try_card;
use targets::TailWords;
pub(crate) use targets::{DeviceTargets, Targets};

use tch::{Device, Kind, Tensor};

use super::cross_entropy::{Gradient, cross_entropy};
use crate::Result;
use crate::autograd::{self, Backward, Forward, Function};
use crate::libtorch;
use crate::matmul::{Added, Features, Products, augmented_weight};

/// Logits held at once: 64 MB in single precision, half of it in bf16.
const PIECE: usize = 16 << 20;

/// In bf16 a product's rows are filled up to a multiple of this.
const ROWS: usize = 32;

/// Where the clusters lie.
#[derive(Debug, Clone)]
pub struct Clusters {
    vocab: usize,
    /// First word of each tail, ascending.
    borders: Vec<usize>,
}

impl Clusters {
    /// Clusters from [`super::Splits::borders`].
    pub fn new(vocab: usize, borders: Vec<usize>) -> Self {
        Self { vocab, borders }
    }

    /// Tail clusters; 0 for a plain softmax.
    pub fn tails(&self) -> usize {
        self.borders.len()
    }

    /// Words in the head.
    fn head_words(&self) -> usize {
        self.borders.first().copied().unwrap_or(self.vocab)
    }

    /// First word and size of a tail, counted from 0.
    fn tail(&self, k: usize) -> (usize, usize) {
        let end = self.borders.get(k + 1).copied().unwrap_or(self.vocab);
        (self.borders[k], end - self.borders[k])
    }

    /// The head's class that stands for a tail: the tombstones follow the words, the first tail's
    /// last.
    fn tombstone(&self, k: usize) -> usize {
        self.head_words() + self.tails() - 1 - k
    }

    /// The tail of a word, `None` for the head.
    fn tail_of(&self, word: usize) -> Option<usize> {
        self.borders.iter().rposition(|&border| word >= border)
    }
}

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
    fn head(&self, clusters: &Clusters) -> Result<(Tensor, Tensor)> {
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
    fn tail(&self, clusters: &Clusters, k: usize) -> Result<(Tensor, Tensor)> {
        let (start, size) = clusters.tail(k);
        Ok((
            self.weight.f_narrow(0, start as i64, size as i64)?,
            self.bias.f_narrow(0, start as i64, size as i64)?,
        ))
    }

    /// Weights and biases of the tombstones, and below them those of the words.
    pub(crate) fn stacked(&self) -> Vec<(&Tensor, &Tensor)> {
        let tail = self.tail.as_ref().map(|(vectors, scalars)| (vectors, scalars));
        tail.into_iter().chain([(&self.weight, &self.bias)]).collect()
    }

    fn tensors(&self) -> Vec<&Tensor> {
        let mut all = vec![&self.weight, &self.bias];
        if let Some((vectors, scalars)) = &self.tail {
            all.extend([vectors, scalars]);
        }
        all
    }
}

/// How a softmax computes its logits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Computation<'a> {
    pub products: Products,
    /// On a GPU, what [`operand`] made of the weights; made anew where it is not given.
    pub operand: Option<&'a Tensor>,
}

/// All classes with their biases as one factor of the softmax's products on a GPU: the tombstones,
/// then the words.
///
/// # Errors
/// [`crate::Error::Torch`] where memory runs out.
pub(crate) fn operand(weights: &SoftmaxWeights, kind: Kind) -> Result<Tensor> {
    augmented_weight(&weights.stacked(), kind)
}

/// The summed cross entropy of words, in nats, without gradients.
///
/// * `hidden`: (words, E), augmented on a GPU.
pub(crate) fn loss_sum(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &Features,
    targets: &Targets,
    computation: Computation<'_>,
) -> Result<f64> {
    let _no_grad = tch::no_grad_guard();
    let words = match targets {
        Targets::Host(words) => words,
        Targets::Device(targets) => {
            let options = (hidden.all.kind(), hidden.all.device());
            let card = OnCard::new(clusters, weights, options, computation)?;
            let sum = card.loss_sum(&flat(hidden)?, targets)?;
            return Ok(libtorch::download(&sum)?[0]);
        }
    };
    let products = computation.products;
    let hidden = &flat(hidden)?;
    let (head, tails) = clusters.sort(words);
    let (weight, bias) = weights.head(clusters)?;
    let mut sum = softmax_loss(hidden, &weight, &bias, &head, products, None)?;
    for (k, tail) in tails.iter().enumerate().filter(|(_, tail)| !tail.places.is_empty()) {
        let (weight, bias) = weights.tail(clusters, k)?;
        let rows = hidden.f_index_select(0, &places(tail, hidden)?)?;
        sum += softmax_loss(&rows, &weight, &bias, &tail.targets, products, None)?;
    }
    Ok(sum)
}

/// The mean cross entropy of words, in nats a word, differentiable in `hidden` and all weights.
///
/// Shapes as for [`loss_sum`]; `asked` is a promise.
pub(crate) fn mean_loss(
    clusters: &Clusters,
    weights: &SoftmaxWeights,
    hidden: &Features,
    targets: Targets,
    computation: Computation<'_>,
    asked: Asked,
) -> Result<Tensor> {
    let function = SplitSoftmax {
        clusters: clusters.clone(),
        targets,
        products: computation.products,
        operand: computation.operand.map(Tensor::shallow_clone),
        asked,
        gradients: vec![],
    };
    let hidden = flat(hidden)?;
    let mut inputs = vec![&hidden];
    inputs.extend(weights.tensors());
    let mut outputs = autograd::apply(function, &inputs)?;
    Ok(outputs.swap_remove(0))
}

/// Hidden states one below the other: (words, E), with what is behind each.
fn flat(hidden: &Features) -> Result<Tensor> {
    Ok(hidden.all.f_reshape([-1, hidden.all.size().last().copied().unwrap_or(1)])?)
}

/// The log probability of every word after each hidden state: (words, V).
///
/// * `hidden`: (words, E).
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
    let mut parts = vec![head.f_narrow(1, 0, clusters.head_words() as i64)?];
    for k in 0..clusters.tails() {
        let of_tail = head.f_narrow(1, clusters.tombstone(k) as i64, 1)?;
        parts.push(log_softmax(weights.tail(clusters, k)?)?.f_add(&of_tail)?);
    }
    Ok(Tensor::f_cat(&parts, 1)?)
}

fn places(tail: &TailWords, hidden: &Tensor) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(&tail.places)?.f_to_device(hidden.device())?)
}

/// Where one softmax's gradients go.
struct Gradients<'a> {
    /// Factor of the loss.
    scale: f64,
    /// (rows, E), overwritten; of the weights' kind, as all of these.
    hidden: &'a Tensor,
    /// (classes, E), overwritten.
    weight: &'a Tensor,
    /// (classes), added to.
    bias: &'a Tensor,
}

/// Sum of the cross entropy of one softmax over `targets.len()` rows, at least one; and its
/// gradients where asked for.
fn softmax_loss(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    products: Products,
    gradients: Option<Gradients<'_>>,
) -> Result<f64> {
    let (hidden, weight) = (products.operand(hidden)?, products.operand(weight)?);
    let ((rows, emsize), classes) = (hidden.size2()?, weight.size()[0]);
    // oneDNN's kernels are made for each shape anew, and tails have other rows in every step.
    let unit = if hidden.kind() == Kind::BFloat16 { ROWS } else { 1 };
    let missing = targets.len().next_multiple_of(unit) as i64 - rows;
    let hidden = if missing > 0 { hidden.f_constant_pad_nd([0, 0, 0, missing])? } else { hidden };
    let of_hidden = match &gradients {
        Some(to) if missing > 0 => {
            Some(to.hidden.f_new_empty([rows + missing, emsize], (to.hidden.kind(), Device::Cpu))?)
        }
        Some(to) => Some(to.hidden.shallow_clone()),
        None => None,
    };
    let at_once = (PIECE / classes as usize).clamp(1, targets.len()).next_multiple_of(unit);
    let size = [at_once as i64, classes];
    let buffer = hidden.f_new_empty(size, (hidden.kind(), hidden.device()))?;
    let mut sum = 0.0;
    for (piece, targets) in targets.chunks(at_once).enumerate() {
        let (start, rows) = ((piece * at_once) as i64, targets.len() as i64);
        let filled = targets.len().next_multiple_of(unit) as i64;
        let (hidden, logits) = (hidden.f_narrow(0, start, filled)?, buffer.f_narrow(0, 0, filled)?);
        products.multiply(&logits, &hidden, &weight.f_tr()?, Added::Nothing)?;
        let gradient = gradients.as_ref().map(|to| Gradient { scale: to.scale, sums: to.bias });
        sum += cross_entropy(&logits.f_narrow(0, 0, rows)?, bias, targets, gradient)?;
        if let (Some(to), Some(of_hidden)) = (&gradients, &of_hidden) {
            let _ = logits.f_narrow(0, rows, filled - rows)?.f_zero_()?;
            let of_rows = of_hidden.f_narrow(0, start, filled)?;
            products.multiply(&of_rows, &logits, &weight, Added::Nothing)?;
            let added = if piece == 0 { Added::Nothing } else { Added::Itself };
            products.multiply(to.weight, &logits.f_tr()?, &hidden, added)?;
        }
    }
    if let (Some(to), Some(of_hidden)) = (gradients, of_hidden.filter(|_| missing > 0)) {
        to.hidden.shallow_clone().f_copy_(&of_hidden.f_narrow(0, 0, rows)?)?;
    }
    Ok(sum)
}

/// How the gradient of a mean loss will be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The loss may be part of any expression.
    WithAnyFactor,
    /// With the factor 1, which a card would have to be waited for to be known.
    AsItIs,
}

/// The mean loss as autograd sees it. The gradients are taken in the forward, while the logits are
/// at hand, and the backward only hands them on.
struct SplitSoftmax {
    clusters: Clusters,
    targets: Targets,
    products: Products,
    operand: Option<Tensor>,
    asked: Asked,
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
        let (scale, products) = (1.0 / self.targets.words() as f64, self.products);
        let words = match &self.targets {
            Targets::Host(words) => words,
            Targets::Device(targets) => {
                let computation = Computation { products, operand: self.operand.as_ref() };
                let options = (hidden.kind(), hidden.device());
                let card = OnCard::new(&self.clusters, &weights, options, computation)?;
                let (mean, gradients) = card.loss_and_gradients(hidden, targets, scale)?;
                self.gradients = gradients;
                return Ok(Forward { outputs: vec![mean], saved: vec![] });
            }
        };
        let (head, tails) = self.clusters.sort(words);

        let (weight, bias) = weights.head(&self.clusters)?;
        let kind = (weights.weight.kind(), hidden.device());
        let mut grad_hidden = Tensor::f_empty(hidden.size(), kind)?;
        let (grad_weight, grad_bias) =
            (weights.weight.f_empty_like()?, weights.bias.f_zeros_like()?);
        let (grad_head, grad_head_bias) = (weight.f_empty_like()?, bias.f_zeros_like()?);
        let gradients =
            Gradients { scale, hidden: &grad_hidden, weight: &grad_head, bias: &grad_head_bias };
        let mut sum = softmax_loss(hidden, &weight, &bias, &head, products, Some(gradients))?;

        let words = self.clusters.head_words() as i64;
        grad_weight.f_narrow(0, 0, words)?.f_copy_(&grad_head.f_narrow(0, 0, words)?)?;
        grad_bias.f_narrow(0, 0, words)?.f_copy_(&grad_head_bias.f_narrow(0, 0, words)?)?;
        for (k, tail) in tails.iter().enumerate() {
            let (start, size) = self.clusters.tail(k);
            let mut grad_weight = grad_weight.f_narrow(0, start as i64, size as i64)?;
            let grad_bias = grad_bias.f_narrow(0, start as i64, size as i64)?;
            if tail.places.is_empty() {
                let _ = grad_weight.f_zero_()?;
                continue;
            }
            let places = places(tail, hidden)?;
            let rows = hidden.f_index_select(0, &places)?;
            let grad_rows = Tensor::f_empty(rows.size(), kind)?;
            let (weight, bias) = weights.tail(&self.clusters, k)?;
            let gradients =
                Gradients { scale, hidden: &grad_rows, weight: &grad_weight, bias: &grad_bias };
            sum += softmax_loss(&rows, &weight, &bias, &tail.targets, products, Some(gradients))?;
            let _ = grad_hidden.f_index_add_(0, &places, &grad_rows)?;
        }
        self.gradients = vec![grad_hidden, grad_weight, grad_bias];
        let tails = self.clusters.tails() as i64;
        if tails > 0 {
            self.gradients.push(grad_head.f_narrow(0, words, tails)?);
            self.gradients.push(grad_head_bias.f_narrow(0, words, tails)?);
        }
        let mean = Tensor::f_from_slice(&[sum * scale])?.f_squeeze()?.f_to_kind(kind.0)?;
        Ok(Forward { outputs: vec![mean], saved: vec![] })
    }

    fn backward(&self, call: Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let Some(factor) = &call.grads[0] else {
            return Ok(self.gradients.iter().map(|_| None).collect());
        };
        // The usual factor is 1, and the weight's gradient is as large as the vocabulary.
        let is_one = self.asked == Asked::AsItIs
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
mod tests;
