//! The split softmax on the CPU.

use tch::{Device, Kind, Tensor};

use super::cross_entropy::{Gradient, cross_entropy, cross_entropy_of_rows};
use super::targets::TailTargets;
use crate::Result;
use crate::matmul::{Addend, Precision};

/// Most logits of a chunk: 64 MB in single precision, half of it in bf16.
pub const CHUNK: usize = 16 << 20;

/// In bf16, chunks are padded to a multiple of this many rows: oneDNN compiles a kernel for each shape, and
/// the rows of a tail differ in every step.
const ROWS: usize = 32;

/// The rows of a tail's targets as an index tensor on the device of `hidden`.
pub fn row_indices(tail: &TailTargets, hidden: &Tensor) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(&tail.rows)?.f_to_device(hidden.device())?)
}

/// Gradients of one softmax, of the weights' kind.
pub struct Gradients<'a> {
    /// Factor of the gradients.
    pub scale: f64,
    /// (rows, E), overwritten.
    pub hidden: &'a Tensor,
    /// (classes, E), overwritten.
    pub weight: &'a Tensor,
    /// (classes), added to.
    pub bias: &'a Tensor,
}

/// The sum of the cross entropy of one softmax over `targets.len()` rows (at least one), in nats;
/// writes its gradients if there are `gradients`.
///
/// * `hidden`: (rows, E);
/// * `weight`: (classes, E), `bias`: (classes).
pub fn softmax_loss(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    precision: Precision,
    gradients: Option<Gradients<'_>>,
) -> Result<f64> {
    softmax(hidden, weight, bias, targets, precision, gradients, None)
}

/// The cross entropy of each row, (rows), in nats, without gradients. Arguments as for [`softmax_loss`].
pub fn softmax_losses(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    precision: Precision,
) -> Result<Vec<f64>> {
    let mut losses = vec![0.0; targets.len()];
    softmax(hidden, weight, bias, targets, precision, None, Some(&mut losses))?;
    Ok(losses)
}

fn softmax(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    precision: Precision,
    gradients: Option<Gradients<'_>>,
    mut losses: Option<&mut [f64]>,
) -> Result<f64> {
    let (hidden, weight) = (precision.operand(hidden)?, precision.operand(weight)?);
    let ((rows, emsize), classes) = (hidden.size2()?, weight.size()[0]);
    let unit = if hidden.kind() == Kind::BFloat16 { ROWS } else { 1 };
    let padding = targets.len().next_multiple_of(unit) as i64 - rows;
    let hidden = if padding > 0 { hidden.f_constant_pad_nd([0, 0, 0, padding])? } else { hidden };
    let grad_hidden = match &gradients {
        Some(grads) if padding > 0 => {
            let options = (grads.hidden.kind(), Device::Cpu);
            Some(grads.hidden.f_new_empty([rows + padding, emsize], options)?)
        }
        Some(grads) => Some(grads.hidden.shallow_clone()),
        None => None,
    };
    let chunk_rows = (CHUNK / classes as usize).clamp(1, targets.len()).next_multiple_of(unit);
    let size = [chunk_rows as i64, classes];
    let buffer = hidden.f_new_empty(size, (hidden.kind(), hidden.device()))?;
    let mut sum = 0.0;
    for (chunk, targets) in targets.chunks(chunk_rows).enumerate() {
        let (start, rows) = ((chunk * chunk_rows) as i64, targets.len() as i64);
        let padded = targets.len().next_multiple_of(unit) as i64;
        let (hidden, logits) = (hidden.f_narrow(0, start, padded)?, buffer.f_narrow(0, 0, padded)?);
        precision.multiply(&logits, &hidden, &weight.f_tr()?, Addend::Nothing)?;
        let gradient =
            gradients.as_ref().map(|grads| Gradient { scale: grads.scale, sums: grads.bias });
        let unpadded = logits.f_narrow(0, 0, rows)?;
        sum += match &mut losses {
            Some(losses) => {
                let losses = &mut losses[chunk * chunk_rows..][..targets.len()];
                cross_entropy_of_rows(&unpadded, bias, targets, losses)?
            }
            None => cross_entropy(&unpadded, bias, targets, gradient)?,
        };
        if let (Some(grads), Some(grad_hidden)) = (&gradients, &grad_hidden) {
            let _ = logits.f_narrow(0, rows, padded - rows)?.f_zero_()?;
            let grad_rows = grad_hidden.f_narrow(0, start, padded)?;
            precision.multiply(&grad_rows, &logits, &weight, Addend::Nothing)?;
            let addend = if chunk == 0 { Addend::Nothing } else { Addend::Output };
            precision.multiply(grads.weight, &logits.f_tr()?, &hidden, addend)?;
        }
    }
    if let (Some(grads), Some(grad_hidden)) = (gradients, grad_hidden.filter(|_| padding > 0)) {
        grads.hidden.shallow_clone().f_copy_(&grad_hidden.f_narrow(0, 0, rows)?)?;
    }
    Ok(sum)
}
