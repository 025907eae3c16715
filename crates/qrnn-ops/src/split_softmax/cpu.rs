//! One softmax and its cross entropy on the CPU.

use tch::{Device, Kind, Tensor};

use super::cross_entropy::{Gradient, cross_entropy, cross_entropy_of_rows};
use crate::Result;
use crate::matmul::{Addend, Precision};

/// Most logits of a chunk: 64 MB in single precision, half of it in bf16.
pub const CHUNK: usize = 16 << 20;

/// In bf16, chunks are padded to a multiple of this many rows: oneDNN compiles a kernel for each shape, and
/// the rows of a tail differ in every step.
const ROWS: usize = 32;

/// Consecutive classes of a softmax whose logits are products with the same hidden states.
pub struct Block {
    /// (rows, width).
    pub hidden: Tensor,
    /// (classes, width).
    pub weight: Tensor,
    /// The gradients to compute.
    pub gradients: Option<BlockGradients>,
}

/// Gradients of a [`Block`], of the weights' kind.
pub struct BlockGradients {
    /// (rows, width), overwritten.
    pub hidden: Tensor,
    /// (classes, width), overwritten.
    pub weight: Tensor,
}

/// A [`Block`] as operands of the products.
struct Operands<'a> {
    /// (rows and padding, width).
    hidden: Tensor,
    weight: Tensor,
    /// The columns of the block's logits: the first, and their number.
    columns: (i64, i64),
    gradients: Option<OperandGradients<'a>>,
}

struct OperandGradients<'a> {
    /// (rows and padding, width).
    hidden: Tensor,
    of_block: &'a BlockGradients,
}

impl<'a> Operands<'a> {
    /// * `first`: the first class of the block;
    /// * `targets`: number of rows.
    fn of(block: &'a Block, first: i64, targets: usize, precision: Precision) -> Result<Self> {
        let (hidden, weight) =
            (precision.operand(&block.hidden)?, precision.operand(&block.weight)?);
        let ((rows, width), classes) = (hidden.size2()?, weight.size()[0]);
        let padding = targets.next_multiple_of(unit(&hidden)) as i64 - rows;
        let hidden =
            if padding > 0 { hidden.f_constant_pad_nd([0, 0, 0, padding])? } else { hidden };
        let gradients = match &block.gradients {
            Some(grads) if padding > 0 => {
                let options = (grads.hidden.kind(), Device::Cpu);
                let hidden = grads.hidden.f_new_empty([rows + padding, width], options)?;
                Some(OperandGradients { hidden, of_block: grads })
            }
            Some(grads) => {
                Some(OperandGradients { hidden: grads.hidden.shallow_clone(), of_block: grads })
            }
            None => None,
        };
        Ok(Self { hidden, weight, columns: (first, classes), gradients })
    }

    /// Computes the logits of some rows.
    fn multiply(&self, logits: &Tensor, rows: (i64, i64), precision: Precision) -> Result<()> {
        let hidden = self.hidden.f_narrow(0, rows.0, rows.1)?;
        precision.multiply(&self.part(logits)?, &hidden, &self.weight.f_tr()?, Addend::Nothing)
    }

    /// Computes the gradients of some rows from those of their logits.
    fn multiply_back(&self, logits: &Tensor, rows: (i64, i64), precision: Precision) -> Result<()> {
        let Some(gradients) = &self.gradients else { return Ok(()) };
        let (logits, hidden) = (self.part(logits)?, self.hidden.f_narrow(0, rows.0, rows.1)?);
        let grad_rows = gradients.hidden.f_narrow(0, rows.0, rows.1)?;
        precision.multiply(&grad_rows, &logits, &self.weight, Addend::Nothing)?;
        let addend = if rows.0 == 0 { Addend::Nothing } else { Addend::Output };
        precision.multiply(&gradients.of_block.weight, &logits.f_tr()?, &hidden, addend)
    }

    /// Copies the gradient of the hidden states out of a padded one.
    fn finish(self) -> Result<()> {
        let Some(OperandGradients { hidden, of_block }) = self.gradients else { return Ok(()) };
        let rows = of_block.hidden.size()[0];
        if hidden.size()[0] > rows {
            of_block.hidden.shallow_clone().f_copy_(&hidden.f_narrow(0, 0, rows)?)?;
        }
        Ok(())
    }

    /// The block's part of the logits.
    fn part(&self, logits: &Tensor) -> Result<Tensor> {
        Ok(logits.f_narrow(1, self.columns.0, self.columns.1)?)
    }
}

/// A chunk has a multiple of this many rows.
fn unit(hidden: &Tensor) -> usize {
    if hidden.kind() == Kind::BFloat16 { ROWS } else { 1 }
}

/// The sum of the cross entropy of one softmax over `targets.len()` rows (at least one), in nats; with a
/// `gradient`, writes the gradients of the blocks too.
///
/// * `blocks`: the classes, in order; all blocks have the same rows, and their hidden states one kind;
/// * `bias`: (classes).
pub fn softmax_loss(
    blocks: &[Block],
    bias: &Tensor,
    targets: &[i64],
    precision: Precision,
    gradient: Option<Gradient<'_>>,
) -> Result<f64> {
    softmax(blocks, bias, targets, precision, gradient, None)
}

/// The cross entropy of each row, (rows), in nats, without gradients. Arguments as for [`softmax_loss`].
pub fn softmax_losses(
    blocks: &[Block],
    bias: &Tensor,
    targets: &[i64],
    precision: Precision,
) -> Result<Vec<f64>> {
    let mut losses = vec![0.0; targets.len()];
    softmax(blocks, bias, targets, precision, None, Some(&mut losses))?;
    Ok(losses)
}

fn softmax(
    blocks: &[Block],
    bias: &Tensor,
    targets: &[i64],
    precision: Precision,
    gradient: Option<Gradient<'_>>,
    mut losses: Option<&mut [f64]>,
) -> Result<f64> {
    let mut classes = 0;
    let mut operands = vec![];
    for block in blocks {
        operands.push(Operands::of(block, classes, targets.len(), precision)?);
        classes += block.weight.size()[0];
    }
    let Some(Operands { hidden, .. }) = operands.first() else { return Ok(0.0) };
    let unit = unit(hidden);
    let chunk_rows = (CHUNK / classes as usize).clamp(1, targets.len()).next_multiple_of(unit);
    let size = [chunk_rows as i64, classes];
    let buffer = hidden.f_new_empty(size, (hidden.kind(), hidden.device()))?;
    let mut sum = 0.0;
    for (chunk, targets) in targets.chunks(chunk_rows).enumerate() {
        let (start, rows) = ((chunk * chunk_rows) as i64, targets.len() as i64);
        let padded = targets.len().next_multiple_of(unit) as i64;
        let logits = buffer.f_narrow(0, 0, padded)?;
        for block in &operands {
            block.multiply(&logits, (start, padded), precision)?;
        }
        let unpadded = logits.f_narrow(0, 0, rows)?;
        sum += match &mut losses {
            Some(losses) => {
                let losses = &mut losses[chunk * chunk_rows..][..targets.len()];
                cross_entropy_of_rows(&unpadded, bias, targets, losses)?
            }
            None => cross_entropy(&unpadded, bias, targets, gradient)?,
        };
        if gradient.is_some() {
            let _ = logits.f_narrow(0, rows, padded - rows)?.f_zero_()?;
            for block in &operands {
                block.multiply_back(&logits, (start, padded), precision)?;
            }
        }
    }
    operands.into_iter().try_for_each(Operands::finish)?;
    Ok(sum)
}
