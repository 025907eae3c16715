//! The split softmax on a GPU: each cluster's logits are computed once, and `kernels/cross_entropy.cu`
//! replaces them by their gradient. Nothing is copied to the host.
//!
//! A [`Launch`] is a GPU, or in tests the host shim, which runs the same source on CPU tensors.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::clusters::{Clusters, OperandRows};
use super::targets::DeviceTargets;
use super::weights::{Computation, SoftmaxWeights, operands as make_operands};
use crate::cuda::headers::{BLOCK, COLUMN};
use crate::cuda::{self, Argument, Geometry, Kernel, Launch, Source, assert_close, test_pattern};
use crate::matmul::{Addend, Precision, aligned};
use crate::profile::{self, Stage};
use crate::{Error, Result};

/// The kernels of softmax and cross entropy over rows of logits.
pub(crate) static CROSS_ENTROPY: Source = Source {
    name: "cross_entropy.cu",
    text: include_str!("../../kernels/cross_entropy.cu"),
    headers: &[COLUMN, BLOCK],
};

/// Threads per row, and the kernels' names in f32 and bf16.
type Kernels = (u32, [&'static str; 2]);

/// By increasing threads.
const KERNELS: [Kernels; 4] = [
    (128, ["cross_entropy_f32_128", "cross_entropy_bf16_128"]),
    (256, ["cross_entropy_f32_256", "cross_entropy_bf16_256"]),
    (512, ["cross_entropy_f32_512", "cross_entropy_bf16_512"]),
    (1024, ["cross_entropy_f32_1024", "cross_entropy_bf16_1024"]),
];

/// Most bytes of a row per thread, if there are kernels with more threads: 16 loads of 16 bytes.
/// kernels/README.md has the measurements.
const BYTES_OF_THREAD: usize = 16 * 16;

/// Most logits of a chunk: 128 MB in bf16, those of the entry's largest cluster in one step.
const CHUNK: i64 = 64 << 20;

/// The softmax of every cluster.
pub(super) struct CudaSoftmax<'a> {
    pub launcher: Arc<dyn Launch>,
    pub clusters: &'a Clusters,
    /// Weights and biases of all classes ([`make_operands`]).
    pub operands: Vec<Tensor>,
    /// Features of a row of each operand.
    pub widths: Vec<i64>,
    pub precision: Precision,
    /// Most logits of a chunk.
    pub chunk: i64,
}

/// Inputs and losses of one cluster's softmax.
struct Cluster {
    /// The classes, in order.
    blocks: Vec<Block>,
    /// (rows), of kind Int.
    targets: Tensor,
    /// (rows), of kind Float, overwritten.
    losses: Tensor,
}

/// Consecutive classes whose logits are products with the same hidden states.
struct Block {
    /// (rows, augmented row), of the activations' kind.
    hidden: Tensor,
    /// (classes, augmented row).
    operand: Tensor,
    /// Gradients of both, overwritten, of kind Float.
    gradients: Option<[Tensor; 2]>,
}

/// Gradients of a step, of kind Float.
struct Gradients {
    scale: f64,
    /// Like the hidden states; `None` for those that no logit is a product with.
    hidden: Vec<Option<Tensor>>,
    /// Like the operands.
    operands: Vec<Tensor>,
}

impl<'a> CudaSoftmax<'a> {
    /// For hidden states of this kind and device.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the device is not a GPU.
    pub fn new(
        clusters: &'a Clusters,
        weights: &SoftmaxWeights,
        (kind, device): (Kind, Device),
        Computation { precision, operands }: Computation<'_>,
    ) -> Result<Self> {
        let launcher = cuda::launcher(device)?.ok_or_else(|| {
            Error::unavailable("the softmax's kernel", "it is for GPUs", "use Targets::Host")
        })?;
        let operands = match operands {
            Some(operands) => operands.iter().map(Tensor::shallow_clone).collect(),
            None => make_operands(clusters, weights, kind)?,
        };
        let widths = weights.operand_widths(clusters)?;
        Ok(Self { launcher, clusters, operands, widths, precision, chunk: CHUNK })
    }

    /// The summed cross entropy, a scalar of kind Float, in nats.
    ///
    /// * `hidden`: the hidden states and their projections, each (tokens, augmented row).
    pub fn loss_sum(&self, hidden: &[Tensor], targets: &DeviceTargets) -> Result<Tensor> {
        sum(&self.run(hidden, targets, None)?)
    }

    /// The cross entropy of each target, (tokens) of kind Double, in nats. Arguments as for
    /// [`CudaSoftmax::loss_sum`].
    pub fn token_losses(&self, hidden: &[Tensor], targets: &DeviceTargets) -> Result<Tensor> {
        let all = self.run(hidden, targets, None)?.f_to_kind(Kind::Double)?;
        let tokens = targets.tokens as i64;
        let (mut losses, mut done) = (all.f_narrow(0, 0, tokens)?, tokens);
        // A target lies in at most one tail, so that the order of additions cannot matter.
        for [indices, _] in &targets.tails {
            let rows = indices.size()[0];
            let _ = losses.f_index_add_(0, indices, &all.f_narrow(0, done, rows)?)?;
            done += rows;
        }
        Ok(losses)
    }

    /// [`CudaSoftmax::loss_sum`] of kind Double, and its gradients times `scale`: of the hidden states, the weights, the bias
    /// and, if there are tails, the weights and biases of the tombstones.
    pub fn loss_and_gradients(
        &self,
        hidden: &[Tensor],
        targets: &DeviceTargets,
        scale: f64,
    ) -> Result<(Tensor, Vec<Option<Tensor>>)> {
        let gradients = self.gradients(hidden, scale)?;
        let sum = self.run(hidden, targets, Some(&gradients))?.f_sum(Kind::Double)?;
        let views = |at: OperandRows| -> Result<[Tensor; 2]> {
            let (operand, width) = (&gradients.operands[at.operand], self.widths[at.operand]);
            let rows = operand.f_narrow(0, at.first as i64, at.rows as i64)?;
            Ok([rows.f_narrow(1, 0, width)?, rows.f_select(1, width)?])
        };
        let (mut weights, mut biases) = (vec![], vec![]);
        for i in 0..if self.clusters.share_weight() { 1 } else { self.clusters.len() } {
            let [weight, bias] = views(self.clusters.token_rows(i))?;
            weights.push(Some(weight));
            biases.push(bias);
        }
        let bias = if biases.len() > 1 { Tensor::f_cat(&biases, 0)? } else { biases.remove(0) };
        let mut tombstones = vec![];
        if self.clusters.tails() > 0 {
            tombstones.extend(views(self.clusters.tombstone_rows())?.map(Some));
        }
        let mut all = gradients.hidden;
        all.extend(weights);
        all.push(Some(bias));
        all.extend(tombstones);
        Ok((sum, all))
    }

    fn gradients(&self, hidden: &[Tensor], scale: f64) -> Result<Gradients> {
        let options = |like: &Tensor| (Kind::Float, like.device());
        let tails = 0..self.clusters.tails();
        let hidden = hidden.iter().enumerate().map(|(i, hidden)| {
            Ok(if self.clusters.head_blocks().iter().any(|block| block.hidden == i) {
                // Overwritten by the head.
                Some(Tensor::f_empty(hidden.size(), options(hidden))?)
            } else if tails.clone().any(|k| self.clusters.tail_block(k).hidden == i) {
                Some(Tensor::f_zeros(hidden.size(), options(hidden))?)
            } else {
                None
            })
        });
        let empty = |like: &Tensor| Tensor::f_empty(like.size(), options(like));
        Ok(Gradients {
            scale,
            hidden: hidden.collect::<Result<_>>()?,
            operands: self.operands.iter().map(empty).collect::<Result<_, _>>()?,
        })
    }

    /// The losses of all targets in the head, then of those of each tail within it, of kind Float.
    fn run(
        &self,
        hidden: &[Tensor],
        targets: &DeviceTargets,
        gradients: Option<&Gradients>,
    ) -> Result<Tensor> {
        let device = targets.head.device();
        let in_tails: i64 = targets.tails.iter().map(|[rows, _]| rows.size()[0]).sum();
        let tokens = targets.tokens as i64;
        let losses = Tensor::f_empty([tokens + in_tails], (Kind::Float, device))?;
        let blocks = self.clusters.head_blocks().into_iter().map(|block| {
            let gradient = gradients.and_then(|gradients| gradients.hidden[block.hidden].as_ref());
            let gradient = gradient.map(Tensor::shallow_clone);
            self.block(block.classes, hidden[block.hidden].shallow_clone(), gradients, gradient)
        });
        let head = Cluster {
            blocks: blocks.collect::<Result<_>>()?,
            targets: targets.head.shallow_clone(),
            losses: losses.f_narrow(0, 0, tokens)?,
        };
        let scale = gradients.map(|gradients| gradients.scale);
        self.run_cluster(&head, scale)?;
        let mut done = tokens;
        for (k, [indices, classes]) in targets.tails.iter().enumerate() {
            let block = self.clusters.tail_block(k);
            let rows = indices.size()[0];
            if rows == 0 {
                if let Some(gradients) = gradients {
                    let _ = part(&gradients.operands, block.classes)?.f_zero_()?;
                }
                continue;
            }
            let gathered = hidden[block.hidden].f_index_select(0, indices)?;
            let grad_rows = match gradients {
                Some(_) => Some(Tensor::f_empty(gathered.size(), (Kind::Float, device))?),
                None => None,
            };
            let gradient = grad_rows.as_ref().map(Tensor::shallow_clone);
            let tail = Cluster {
                blocks: vec![self.block(block.classes, gathered, gradients, gradient)?],
                targets: classes.shallow_clone(),
                losses: losses.f_narrow(0, done, rows)?,
            };
            done += rows;
            self.run_cluster(&tail, scale)?;
            let grad_hidden =
                gradients.and_then(|gradients| gradients.hidden[block.hidden].as_ref());
            if let (Some(grad_hidden), Some(grad_rows)) = (grad_hidden, grad_rows) {
                let _ = grad_hidden.shallow_clone().f_index_add_(0, indices, &grad_rows)?;
            }
        }
        Ok(losses)
    }

    /// * `hidden_gradient`: of `hidden`, if there are `gradients`.
    fn block(
        &self,
        classes: OperandRows,
        hidden: Tensor,
        gradients: Option<&Gradients>,
        hidden_gradient: Option<Tensor>,
    ) -> Result<Block> {
        let operand = part(&self.operands, classes)?;
        let gradients = match (gradients, hidden_gradient) {
            (Some(all), Some(of_hidden)) => Some([of_hidden, part(&all.operands, classes)?]),
            _ => None,
        };
        Ok(Block { hidden, operand, gradients })
    }

    /// Writes the losses of one cluster's softmax, and with a `scale` its gradients times it.
    fn run_cluster(&self, cluster: &Cluster, scale: Option<f64>) -> Result<()> {
        let Cluster { blocks, targets, losses } = cluster;
        let Some(Block { hidden, .. }) = blocks.first() else { return Ok(()) };
        let (rows, options) = (hidden.size()[0], (hidden.kind(), hidden.device()));
        let classes: i64 = blocks.iter().map(|block| block.operand.size()[0]).sum();
        let stride = aligned(classes);
        let chunk_rows = (self.chunk / stride).clamp(1, rows);
        let buffer = Tensor::f_empty([chunk_rows, stride], options)?;
        let mut start = 0;
        while start < rows {
            let count = chunk_rows.min(rows - start);
            let logits = buffer.f_narrow(0, 0, count)?.f_narrow(1, 0, classes)?;
            let mut column = 0;
            let mut parts = vec![];
            for block in blocks {
                let hidden = block.hidden.f_narrow(0, start, count)?;
                let part = logits.f_narrow(1, column, block.operand.size()[0])?;
                column += block.operand.size()[0];
                let operand = block.operand.f_tr()?;
                self.precision.multiply(&part, &hidden, &operand, Addend::Nothing)?;
                parts.push((block, hidden, part));
            }
            let (targets, losses) =
                (targets.f_narrow(0, start, count)?, losses.f_narrow(0, start, count)?);
            cross_entropy(&*self.launcher, &logits, &targets, &losses, scale)?;
            for (block, hidden, part) in &parts {
                let Some([grad_hidden, grad_operand]) = &block.gradients else { continue };
                let grad_rows = grad_hidden.f_narrow(0, start, count)?;
                self.precision.multiply(&grad_rows, part, &block.operand, Addend::Nothing)?;
                let addend = if start == 0 { Addend::Nothing } else { Addend::Output };
                self.precision.multiply(grad_operand, &part.f_tr()?, hidden, addend)?;
            }
            start += count;
        }
        Ok(())
    }
}

/// The sum, in double precision, which costs nothing for a few thousand losses.
fn sum(losses: &Tensor) -> Result<Tensor> {
    Ok(losses.f_sum(Kind::Double)?.f_to_kind(Kind::Float)?)
}

/// Rows of one of several operands.
fn part(operands: &[Tensor], at: OperandRows) -> Result<Tensor> {
    Ok(operands[at.operand].f_narrow(0, at.first as i64, at.rows as i64)?)
}

/// The cross entropy of each row; with `scale`, overwrites `logits` by their gradient times `scale`.
///
/// * `logits`: (rows, classes) of kind Float or BFloat16, with contiguous rows aligned to 16 bytes;
/// * `targets`: (rows), Int, each less than `classes`; `losses`: (rows), Float.
fn cross_entropy(
    launcher: &dyn Launch,
    logits: &Tensor,
    targets: &Tensor,
    losses: &Tensor,
    scale: Option<f64>,
) -> Result<()> {
    let bytes = logits.size2()?.1 as usize * logits.kind().elt_size_in_bytes();
    let fits = |&(threads, _): &Kernels| bytes <= BYTES_OF_THREAD * threads as usize;
    let kernels = KERNELS.into_iter().find(fits).unwrap_or(KERNELS[KERNELS.len() - 1]);
    launch(launcher, kernels, [logits, targets, losses], scale)
}

/// [`cross_entropy`] of logits, targets and losses with these kernels.
fn launch(
    launcher: &dyn Launch,
    (threads, names): Kernels,
    [logits, targets, losses]: [&Tensor; 3],
    scale: Option<f64>,
) -> Result<()> {
    let name = names[usize::from(logits.kind() == Kind::BFloat16)];
    let (rows, classes) = logits.size2()?;
    let too_many = || {
        Error::shape(
            "the softmax on a GPU",
            format!("{rows} rows of {classes} classes do not fit in 32-bit integers"),
            "use a smaller batch",
        )
    };
    let [rows, classes] = [u32::try_from(rows).ok(), u32::try_from(classes).ok()];
    let (rows, classes) =
        rows.zip(classes.and_then(|classes| i32::try_from(classes).ok())).ok_or_else(too_many)?;
    debug_assert!(targets.kind() == Kind::Int && losses.kind() == Kind::Float);
    debug_assert!(
        logits.stride()[0] == aligned(logits.stride()[0])
            && (logits.data_ptr() as usize).is_multiple_of(16)
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
    let geometry = Geometry { grid: rows, block: threads };
    let _span = profile::span(Stage::CrossEntropy);
    // SAFETY: the parameters of cross_entropy_* in order; the tensors are on the launcher's device,
    // with the kinds, sizes and strides above.
    unsafe { launcher.launch(Kernel { source: &CROSS_ENTROPY, name }, geometry, arguments) }
}

/// Compares each kernel on a few rows with torch on the CPU.
///
/// # Errors
/// [`Error::Unavailable`] if they differ.
pub fn self_test(launcher: &dyn Launch, device: Device) -> Result<()> {
    // More than 128 threads keep in registers.
    let (rows, classes) = (3, 4500);
    let _no_grad = tch::no_grad_guard();
    let targets = Tensor::f_from_slice(&[0i32, 4499, 7])?;
    for (kind, bound) in [(Kind::Float, 1e-5), (Kind::BFloat16, 1e-2)] {
        let all = test_pattern(&[rows, classes + 4], 5.0)?.f_to_kind(kind)?;
        let exact = all.f_narrow(1, 0, classes)?.f_to_kind(Kind::Float)?.f_log_softmax(1, None)?;
        let indices = targets.f_to_kind(Kind::Int64)?;
        let expected = exact.f_gather(1, &indices.f_unsqueeze(1)?, false)?.f_neg()?.f_squeeze()?;
        let gradient = exact.f_exp()?.f_sub(&indices.f_one_hot(classes)?)?.f_mul_scalar(0.5)?;

        for kernels in KERNELS {
            let logits = all.f_detach_copy()?.f_to_device(device)?.f_narrow(1, 0, classes)?;
            let losses = Tensor::f_empty([rows], (Kind::Float, device))?;
            let targets = targets.f_to_device(device)?;
            launch(launcher, kernels, [&logits, &targets, &losses], Some(0.5))?;
            let what = format!("cross entropy in {kind:?} by {} threads", kernels.0);
            assert_close(&what, &losses, &expected, bound)?;
            assert_close(&format!("gradient of the {what}"), &logits, &gradient, bound)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
