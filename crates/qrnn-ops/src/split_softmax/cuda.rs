//! The split softmax on a GPU: each cluster's logits are made once, and `kernels/cross_entropy.cu`
//! turns them into their gradient where they lie. Nothing is copied to the host.
//!
//! Whoever launches is given as a [`Launch`]: a GPU, or the tests' host shim, which runs the same
//! source on the CPU with tensors that lie there.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::clusters::Clusters;
use super::targets::DeviceTargets;
use super::weights::{Computation, SoftmaxWeights, operand as make_operand};
use crate::cuda::headers::{BLOCK, COLUMN};
use crate::cuda::{self, Argument, Geometry, Kernel, Launch, Source, assert_close, test_pattern};
use crate::matmul::{Added, Precision};
use crate::{Error, Result, profile};

/// Softmax and cross entropy of rows of logits.
pub(crate) static CROSS_ENTROPY: Source = Source {
    name: "cross_entropy.cu",
    text: include_str!("../../kernels/cross_entropy.cu"),
    headers: &[COLUMN, BLOCK],
};

/// ROW_THREADS of `kernels/block.cuh`.
const ROW_THREADS: u32 = 256;

/// Numbers in the 16 bytes that the kernel moves at once, of the smallest kind.
const PACK: i64 = 8;

/// Logits held at once: 128 MB in bf16, those of the entry's largest cluster in one step.
const PIECE: i64 = 64 << 20;

/// One softmax a cluster, all of a step's.
pub(super) struct CudaSoftmax<'a> {
    pub launcher: Arc<dyn Launch>,
    pub clusters: &'a Clusters,
    /// All classes with their biases, [`augmented_weight`]'s: first the tombstones, then the words. So
    /// the head is its first rows, and each tail's are together.
    pub operand: Tensor,
    /// Numbers of a hidden state.
    pub width: i64,
    pub precision: Precision,
    /// Logits held at once.
    pub piece: i64,
}

/// One cluster's part of a step.
struct Part<'a> {
    /// (rows, augmented row), of the activations' kind.
    hidden: &'a Tensor,
    /// (classes, augmented row).
    operand: &'a Tensor,
    /// (rows), of kind Int.
    targets: &'a Tensor,
    /// (rows), of kind Float; written.
    losses: &'a Tensor,
}

/// Where the gradients of a step, or of one cluster, go; overwritten, of kind Float.
struct Gradients<'a> {
    scale: f64,
    /// (rows, augmented row), of which the features alone are written.
    hidden: &'a Tensor,
    /// As the operand.
    operand: &'a Tensor,
}

impl<'a> CudaSoftmax<'a> {
    /// For hidden states of these kind and device.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the device is no GPU.
    pub fn new(
        clusters: &'a Clusters,
        weights: &SoftmaxWeights,
        (kind, device): (Kind, Device),
        Computation { precision, operand }: Computation<'_>,
    ) -> Result<Self> {
        let launcher = cuda::launcher(device)?.ok_or_else(|| {
            Error::unavailable("the softmax's kernel", "it is for GPUs", "use Targets::Host")
        })?;
        let operand = match operand {
            Some(operand) => operand.shallow_clone(),
            None => make_operand(weights, kind)?,
        };
        let width = weights.weight.size2()?.1;
        Ok(Self { launcher, clusters, operand, width, precision, piece: PIECE })
    }

    /// The summed cross entropy, a scalar of kind Float, in nats.
    ///
    /// * `hidden`: (words, augmented row).
    pub fn loss_sum(&self, hidden: &Tensor, targets: &DeviceTargets) -> Result<Tensor> {
        self.run(hidden, targets, None)
    }

    /// As [`CudaSoftmax::loss_sum`], times `scale`, and its gradients in hidden, weight, bias and, where
    /// there are tails, the tombstones' two.
    pub fn loss_and_gradients(
        &self,
        hidden: &Tensor,
        targets: &DeviceTargets,
        scale: f64,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let float = |like: &Tensor| Tensor::f_empty(like.size(), (Kind::Float, hidden.device()));
        let (of_hidden, of_operand) = (float(hidden)?, float(&self.operand)?);
        let into = Gradients { scale, hidden: &of_hidden, operand: &of_operand };
        let sum = self.run(hidden, targets, Some(&into))?;
        let tails = self.clusters.tails() as i64;
        let mut parts = vec![of_operand.f_narrow(0, tails, self.clusters.vocab as i64)?];
        if tails > 0 {
            parts.push(of_operand.f_narrow(0, 0, tails)?);
        }
        let mut all = vec![of_hidden];
        for part in &parts {
            all.extend([part.f_narrow(1, 0, self.width)?, part.f_select(1, self.width)?]);
        }
        Ok((sum.f_mul_scalar(scale)?, all))
    }

    fn run(
        &self,
        hidden: &Tensor,
        targets: &DeviceTargets,
        into: Option<&Gradients<'_>>,
    ) -> Result<Tensor> {
        let device = hidden.device();
        let in_tails: i64 = targets.tails.iter().map(|[places, _]| places.size()[0]).sum();
        let words = targets.words as i64;
        let losses = Tensor::f_empty([words + in_tails], (Kind::Float, device))?;
        let head = (self.clusters.head_words() + self.clusters.tails()) as i64;
        let (operand, of_head) =
            (self.operand.f_narrow(0, 0, head)?, losses.f_narrow(0, 0, words)?);
        let part = Part { hidden, operand: &operand, targets: &targets.head, losses: &of_head };
        match into {
            Some(into) => {
                let operand = into.operand.f_narrow(0, 0, head)?;
                self.part(&part, Some(Gradients { operand: &operand, ..*into }))?;
            }
            None => self.part(&part, None)?,
        }
        let mut done = words;
        for (k, [places, classes]) in targets.tails.iter().enumerate() {
            let (start, size) = self.clusters.tail(k);
            let (start, size) = ((start + self.clusters.tails()) as i64, size as i64);
            let own = into.map(|into| into.operand.f_narrow(0, start, size)).transpose()?;
            let rows = places.size()[0];
            if rows == 0 {
                if let Some(mut own) = own {
                    let _ = own.f_zero_()?;
                }
                continue;
            }
            let gathered = hidden.f_index_select(0, places)?;
            let part = Part {
                hidden: &gathered,
                operand: &self.operand.f_narrow(0, start, size)?,
                targets: classes,
                losses: &losses.f_narrow(0, done, rows)?,
            };
            done += rows;
            match (into, own) {
                (Some(into), Some(own)) => {
                    let of_rows = Tensor::f_empty(gathered.size(), (Kind::Float, device))?;
                    let gradients =
                        Gradients { scale: into.scale, hidden: &of_rows, operand: &own };
                    self.part(&part, Some(gradients))?;
                    let mut features = into.hidden.f_narrow(1, 0, self.width)?;
                    let of_rows = of_rows.f_narrow(1, 0, self.width)?;
                    let _ = features.f_index_add_(0, places, &of_rows)?;
                }
                _ => self.part(&part, None)?,
            }
        }
        // In double precision, which costs the sum of some thousand numbers nothing.
        Ok(losses.f_sum(Kind::Double)?.f_to_kind(Kind::Float)?)
    }

    /// The losses of one softmax's rows, and its gradients where asked for.
    fn part(&self, part: &Part<'_>, gradients: Option<Gradients<'_>>) -> Result<()> {
        let (rows, classes) = (part.hidden.size()[0], part.operand.size()[0]);
        let stride = (classes as u64).next_multiple_of(PACK as u64) as i64;
        let at_once = (self.piece / stride).clamp(1, rows);
        let room = Tensor::f_empty([at_once, stride], (part.hidden.kind(), part.hidden.device()))?;
        let mut start = 0;
        while start < rows {
            let count = at_once.min(rows - start);
            let hidden = part.hidden.f_narrow(0, start, count)?;
            let logits = room.f_narrow(0, 0, count)?.f_narrow(1, 0, classes)?;
            self.precision.multiply(&logits, &hidden, &part.operand.f_tr()?, Added::Nothing)?;
            let scale = gradients.as_ref().map(|gradients| gradients.scale);
            let (targets, losses) =
                (part.targets.f_narrow(0, start, count)?, part.losses.f_narrow(0, start, count)?);
            cross_entropy(&*self.launcher, &logits, &targets, &losses, scale)?;
            if let Some(gradients) = &gradients {
                let weight = part.operand.f_narrow(1, 0, self.width)?;
                let of_rows = gradients.hidden.f_narrow(0, start, count)?;
                let of_rows = of_rows.f_narrow(1, 0, self.width)?;
                self.precision.multiply(&of_rows, &logits, &weight, Added::Nothing)?;
                let added = if start == 0 { Added::Nothing } else { Added::Itself };
                self.precision.multiply(gradients.operand, &logits.f_tr()?, &hidden, added)?;
            }
            start += count;
        }
        Ok(())
    }
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
        Error::shape(
            "the softmax on a GPU",
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
pub fn self_test(launcher: &dyn Launch, device: Device) -> Result<()> {
    let (rows, classes) = (3, 300);
    let _no_grad = tch::no_grad_guard();
    let targets = Tensor::f_from_slice(&[0i32, 299, 7])?;
    for (kind, bound) in [(Kind::Float, 1e-5), (Kind::BFloat16, 1e-2)] {
        let all = test_pattern(&[rows, classes + 4], 5.0)?.f_to_kind(kind)?;
        let exact = all.f_narrow(1, 0, classes)?.f_to_kind(Kind::Float)?.f_log_softmax(1, None)?;
        let wanted = targets.f_to_kind(Kind::Int64)?;
        let expected = exact.f_gather(1, &wanted.f_unsqueeze(1)?, false)?.f_neg()?.f_squeeze()?;
        let gradient = exact.f_exp()?.f_sub(&wanted.f_one_hot(classes)?)?.f_mul_scalar(0.5)?;

        let logits = all.f_detach_copy()?.f_to_device(device)?.f_narrow(1, 0, classes)?;
        let losses = Tensor::f_empty([rows], (Kind::Float, device))?;
        cross_entropy(launcher, &logits, &targets.f_to_device(device)?, &losses, Some(0.5))?;
        assert_close(&format!("cross entropy in {kind:?}"), &losses, &expected, bound)?;
        assert_close(
            &format!("gradient of the cross entropy in {kind:?}"),
            &logits,
            &gradient,
            bound,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
