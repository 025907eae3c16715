//! The split softmax on the CPU.

use tch::{Device, Kind, Tensor};

use super::cross_entropy::{Gradient, cross_entropy};
use super::targets::TailWords;
use crate::Result;
use crate::matmul::{Added, Precision};

/// Logits held at once: 64 MB in single precision, half of it in bf16.
pub const PIECE: usize = 16 << 20;

/// In bf16 a product's rows are filled up to a multiple of this.
const ROWS: usize = 32;

pub fn places(tail: &TailWords, hidden: &Tensor) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(&tail.places)?.f_to_device(hidden.device())?)
}

/// Where one softmax's gradients go.
pub struct Gradients<'a> {
    /// Factor of the loss.
    pub scale: f64,
    /// (rows, E), overwritten; of the weights' kind, as all of these.
    pub hidden: &'a Tensor,
    /// (classes, E), overwritten.
    pub weight: &'a Tensor,
    /// (classes), added to.
    pub bias: &'a Tensor,
}

/// Sum of the cross entropy of one softmax over `targets.len()` rows, at least one; and its
/// gradients where asked for.
pub fn softmax_loss(
    hidden: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &[i64],
    precision: Precision,
    gradients: Option<Gradients<'_>>,
) -> Result<f64> {
    let (hidden, weight) = (precision.operand(hidden)?, precision.operand(weight)?);
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
        precision.multiply(&logits, &hidden, &weight.f_tr()?, Added::Nothing)?;
        let gradient = gradients.as_ref().map(|to| Gradient { scale: to.scale, sums: to.bias });
        sum += cross_entropy(&logits.f_narrow(0, 0, rows)?, bias, targets, gradient)?;
        if let (Some(to), Some(of_hidden)) = (&gradients, &of_hidden) {
            let _ = logits.f_narrow(0, rows, filled - rows)?.f_zero_()?;
            let of_rows = of_hidden.f_narrow(0, start, filled)?;
            precision.multiply(&of_rows, &logits, &weight, Added::Nothing)?;
            let added = if piece == 0 { Added::Nothing } else { Added::Itself };
            precision.multiply(to.weight, &logits.f_tr()?, &hidden, added)?;
        }
    }
    if let (Some(to), Some(of_hidden)) = (gradients, of_hidden.filter(|_| missing > 0)) {
        to.hidden.shallow_clone().f_copy_(&of_hidden.f_narrow(0, 0, rows)?)?;
    }
    Ok(sum)
}
