//! The split softmax on a card: each cluster's logits are made once, and `kernels/cross_entropy.cu`
//! turns them into their gradient where they lie. Nothing is copied to the host.
//!
//! Whoever launches is given as a [`Launch`]: a card, or the tests' host shim, which runs the same
//! source on the CPU with tensors that lie there.

use tch::{Device, Kind, Tensor};

use super::{Clusters, Gradients, SoftmaxWeights};
use crate::cuda::{Argument, Geometry, Kernel, Launch, Source, agree, numbers};
use crate::matmul::{Added, Products};
use crate::pool::COLUMN;
use crate::{Error, Result, libtorch, profile};

/// Softmax and cross entropy of rows of logits.
pub(crate) static CROSS_ENTROPY: Source = Source {
    name: "cross_entropy.cu",
    text: include_str!("../../../kernels/cross_entropy.cu"),
    headers: &[COLUMN, ("block.cuh", include_str!("../../../kernels/block.cuh"))],
};

/// ROW_THREADS of `kernels/block.cuh`.
const ROW_THREADS: u32 = 256;

/// Numbers in the 16 bytes that the kernel moves at once, of the smallest kind.
const PACK: i64 = 8;

/// Logits held at once: 128 MB in bf16, those of the entry's largest cluster in one step.
pub(super) const PIECE: i64 = 64 << 20;

/// One softmax a cluster, all of a step's.
pub(super) struct OnCard<'a> {
    pub launcher: &'a dyn Launch,
    pub clusters: &'a Clusters,
    pub weights: &'a SoftmaxWeights,
    pub products: Products,
    /// Logits held at once.
    pub piece: i64,
}

/// One cluster's part of a step.
struct Part<'a> {
    /// (rows, E), of the activations' kind.
    hidden: &'a Tensor,
    /// (classes, E) and (classes).
    weight: &'a Tensor,
    bias: &'a Tensor,
    /// (rows), of kind Int.
    targets: &'a Tensor,
    /// (rows), of kind Float; written.
    losses: &'a Tensor,
}

impl OnCard<'_> {
    /// The summed cross entropy, a scalar of kind Double, in nats.
    ///
    /// * `hidden`: (words, E);
    /// * `words`: the words to predict.
    pub fn loss_sum(&self, hidden: &Tensor, words: &[i64]) -> Result<Tensor> {
        self.run(hidden, words, None)
    }

    /// As [`OnCard::loss_sum`], times `scale`, and its gradients in hidden, weight, bias and, where
    /// there are tails, the tombstones' two.
    pub fn loss_and_gradients(
        &self,
        hidden: &Tensor,
        words: &[i64],
        scale: f64,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let float = |like: &Tensor| Tensor::f_empty(like.size(), (Kind::Float, hidden.device()));
        let (weight, bias) = (float(&self.weights.weight)?, float(&self.weights.bias)?);
        let of_hidden = float(hidden)?;
        let (first, tails) = (self.clusters.head_words() as i64, self.clusters.tails() as i64);
        let (classes, emsize) = (first + tails, hidden.size2()?.1);
        let of_head = |size: &[i64]| Tensor::f_empty(size, (Kind::Float, hidden.device()));
        let (head, head_scalars) = (of_head(&[classes, emsize])?, of_head(&[classes])?);
        let into = StepGradients {
            scale,
            hidden: &of_hidden,
            weight: &weight,
            bias: &bias,
            head: &head,
            head_bias: &head_scalars,
        };
        let sum = self.run(hidden, words, Some(&into))?;
        weight.f_narrow(0, 0, first)?.f_copy_(&head.f_narrow(0, 0, first)?)?;
        bias.f_narrow(0, 0, first)?.f_copy_(&head_scalars.f_narrow(0, 0, first)?)?;
        let mut all = vec![of_hidden, weight, bias];
        if tails > 0 {
            all.extend([head.f_narrow(0, first, tails)?, head_scalars.f_narrow(0, first, tails)?]);
        }
        Ok((sum.f_mul_scalar(scale)?, all))
    }

    fn run(
        &self,
        hidden: &Tensor,
        words: &[i64],
        into: Option<&StepGradients<'_>>,
    ) -> Result<Tensor> {
        let device = hidden.device();
        let (head, tails) = self.clusters.sort(words);
        let in_tails: usize = tails.iter().map(|tail| tail.places.len()).sum();
        let losses = Tensor::f_empty([(words.len() + in_tails) as i64], (Kind::Float, device))?;
        let hidden = self.products.operand(hidden)?;
        let (weight, bias) = self.weights.head(self.clusters)?;
        self.part(
            &Part {
                hidden: &hidden,
                weight: &weight,
                bias: &bias,
                targets: &targets(&head, device)?,
                losses: &losses.f_narrow(0, 0, words.len() as i64)?,
            },
            into.map(|into| Gradients {
                scale: into.scale,
                hidden: into.hidden,
                weight: into.head,
                bias: into.head_bias,
            }),
        )?;
        let mut done = words.len() as i64;
        for (k, tail) in tails.iter().enumerate() {
            let (start, size) = self.clusters.tail(k);
            let (start, size, rows) = (start as i64, size as i64, tail.places.len() as i64);
            let own = into
                .map(|into| -> Result<_> {
                    let (weight, bias) = (
                        into.weight.f_narrow(0, start, size)?,
                        into.bias.f_narrow(0, start, size)?,
                    );
                    Ok((weight, bias))
                })
                .transpose()?;
            if rows == 0 {
                if let Some((mut weight, mut bias)) = own {
                    let _ = (weight.f_zero_()?, bias.f_zero_()?);
                }
                continue;
            }
            let places = libtorch::upload(&tail.places, device)?;
            // What is gathered lies side by side: its rows are padded anew.
            let gathered = self.products.operand(&hidden.f_index_select(0, &places)?)?;
            let (weight, bias) = self.weights.tail(self.clusters, k)?;
            let part = Part {
                hidden: &gathered,
                weight: &weight,
                bias: &bias,
                targets: &targets(&tail.targets, device)?,
                losses: &losses.f_narrow(0, done, rows)?,
            };
            done += rows;
            match (into, own) {
                (Some(into), Some((own_weight, own_bias))) => {
                    let of_rows = Tensor::f_empty(gathered.size(), (Kind::Float, device))?;
                    let gradients = Gradients {
                        scale: into.scale,
                        hidden: &of_rows,
                        weight: &own_weight,
                        bias: &own_bias,
                    };
                    self.part(&part, Some(gradients))?;
                    let _ = into.hidden.shallow_clone().f_index_add_(0, &places, &of_rows)?;
                }
                _ => self.part(&part, None)?,
            }
        }
        Ok(losses.f_sum(Kind::Double)?)
    }

    /// The losses of one softmax's rows, and its gradients where asked for.
    fn part(&self, part: &Part<'_>, gradients: Option<Gradients<'_>>) -> Result<()> {
        let (rows, classes) = (part.hidden.size()[0], part.weight.size()[0]);
        let weight = self.products.operand(part.weight)?;
        let stride = (classes as u64).next_multiple_of(PACK as u64) as i64;
        let at_once = (self.piece / stride).clamp(1, rows);
        let room = Tensor::f_empty([at_once, stride], (part.hidden.kind(), part.hidden.device()))?;
        let mut start = 0;
        while start < rows {
            let count = at_once.min(rows - start);
            let hidden = part.hidden.f_narrow(0, start, count)?;
            let logits = room.f_narrow(0, 0, count)?.f_narrow(1, 0, classes)?;
            self.products.multiply(&logits, &hidden, &weight.f_tr()?, Added::Bias(part.bias))?;
            let scale = gradients.as_ref().map(|gradients| gradients.scale);
            let (targets, losses) =
                (part.targets.f_narrow(0, start, count)?, part.losses.f_narrow(0, start, count)?);
            cross_entropy(self.launcher, &logits, &targets, &losses, scale)?;
            if let Some(gradients) = &gradients {
                let of_rows = gradients.hidden.f_narrow(0, start, count)?;
                self.products.multiply(&of_rows, &logits, &weight, Added::Nothing)?;
                let added = if start == 0 { Added::Nothing } else { Added::Itself };
                self.products.multiply(gradients.weight, &logits.f_tr()?, &hidden, added)?;
                let of_bias = logits.f_sum_dim_intlist(0, false, Kind::Float)?;
                let mut bias = gradients.bias.shallow_clone();
                let _ = if start == 0 {
                    bias.f_copy_(&of_bias).map(|()| bias)?
                } else {
                    bias.f_add_(&of_bias)?
                };
            }
            start += count;
        }
        Ok(())
    }
}

/// Where a step's gradients go; all of kind Float.
struct StepGradients<'a> {
    scale: f64,
    /// (words, E).
    hidden: &'a Tensor,
    /// (V, E) and (V), the tails' parts of which are written.
    weight: &'a Tensor,
    bias: &'a Tensor,
    /// (head's classes, E) and (head's classes).
    head: &'a Tensor,
    head_bias: &'a Tensor,
}

/// As the kernel counts classes.
fn targets(classes: &[i64], device: Device) -> Result<Tensor> {
    let classes: Vec<i32> = classes.iter().map(|class| *class as i32).collect();
    libtorch::upload(&classes, device)
}

/// The cross entropy of each row, and in `logits` its gradient times `scale` where that is given.
///
/// * `logits`: (rows, classes) of kind Float or BFloat16, columns side by side, rows at multiples of
///   16 bytes;
/// * `targets`: (rows), Int, each less than `classes`; `losses`: (rows), Float.
fn cross_entropy(
    launcher: &dyn Launch,
    logits: &Tensor,
    targets: &Tensor,
    losses: &Tensor,
    scale: Option<f64>,
) -> Result<()> {
    let name = match logits.kind() {
        Kind::BFloat16 => "cross_entropy_bf16",
        _ => "cross_entropy_f32",
    };
    let (rows, classes) = logits.size2()?;
    let too_many = || {
        Error::usage(
            "the softmax on a card",
            format!("{rows} rows of {classes} classes are more than its kernel counts to"),
            "use a smaller batch",
        )
    };
    let [rows, classes] = [u32::try_from(rows).ok(), u32::try_from(classes).ok()];
    let (rows, classes) =
        rows.zip(classes.and_then(|classes| i32::try_from(classes).ok())).ok_or_else(too_many)?;
    debug_assert!(targets.kind() == Kind::Int && losses.kind() == Kind::Float);
    debug_assert!(
        logits.stride()[0] % PACK == 0 && (logits.data_ptr() as usize).is_multiple_of(16)
    );
    let arguments = &mut [
        Argument::Pointer(logits.data_ptr()),
        Argument::Pointer(targets.data_ptr()),
        Argument::Pointer(losses.data_ptr()),
        Argument::Float(scale.unwrap_or(0.0) as f32),
        Argument::Int(i32::from(scale.is_some())),
        Argument::Int(classes),
        Argument::Long(logits.stride()[0]),
    ];
    let geometry = Geometry { grid: rows, block: ROW_THREADS };
    // The second reading of a row comes from the cache.
    let moved = [Some(logits), scale.and(Some(logits)), Some(targets), Some(losses)];
    let _stage = profile::stage("cross entropy").over(moved.into_iter().flatten());
    // SAFETY: the parameters of cross_entropy_* in order; the tensors lie on the launcher's device
    // and have the kinds, sizes and strides that it counts on.
    unsafe { launcher.launch(Kernel { source: &CROSS_ENTROPY, name }, geometry, arguments) }
}

/// The kernel on a few rows, held against torch on the CPU.
///
/// # Errors
/// [`Error::Unavailable`] where they disagree.
pub(crate) fn try_out(launcher: &dyn Launch, device: Device) -> Result<()> {
    let (rows, classes) = (3, 300);
    let _no_grad = tch::no_grad_guard();
    let targets = Tensor::f_from_slice(&[0i32, 299, 7])?;
    for (kind, bound) in [(Kind::Float, 1e-5), (Kind::BFloat16, 1e-2)] {
        let all = numbers(&[rows, classes + 4], 5.0)?.f_to_kind(kind)?;
        let exact = all.f_narrow(1, 0, classes)?.f_to_kind(Kind::Float)?.f_log_softmax(1, None)?;
        let wanted = targets.f_to_kind(Kind::Int64)?;
        let expected = exact.f_gather(1, &wanted.f_unsqueeze(1)?, false)?.f_neg()?.f_squeeze()?;
        let gradient = exact.f_exp()?.f_sub(&wanted.f_one_hot(classes)?)?.f_mul_scalar(0.5)?;

        let logits = all.f_detach_copy()?.f_to_device(device)?.f_narrow(1, 0, classes)?;
        let losses = Tensor::f_empty([rows], (Kind::Float, device))?;
        cross_entropy(launcher, &logits, &targets.f_to_device(device)?, &losses, Some(0.5))?;
        agree(&format!("cross entropy in {kind:?}"), &losses, &expected, bound)?;
        agree(&format!("gradient of the cross entropy in {kind:?}"), &logits, &gradient, bound)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
