//! How a pooling kernel is launched on a tensor of this shape.

use std::ptr;

use tch::Tensor;

use crate::cuda::{Argument, Geometry};
use crate::{Error, Result};

/// BLOCK of `kernels/column.cuh`: threads of a block.
pub const BLOCK: u32 = 64;

/// Sequence length, columns, features.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    seq: i32,
    batch: i32,
    hidden: i32,
}

impl Shape {
    pub fn new(seq: i64, batch: i64, hidden: i64) -> Result<Self> {
        match [seq, batch, hidden].map(i32::try_from) {
            [Ok(seq), Ok(batch), Ok(hidden)] => Ok(Self { seq, batch, hidden }),
            _ => Err(Error::shape(
                "pooling on a card",
                format!("({seq}, {batch}, {hidden}) is more than its kernels count to"),
                "cut the tensor into several",
            )),
        }
    }

    /// From one row of the gates to the next, as the kernels count it.
    pub fn row(self, row: i64) -> Result<Argument> {
        let step = i64::from(self.batch).checked_mul(row).map(i32::try_from);
        match (step, i32::try_from(row)) {
            (Some(Ok(_)), Ok(row)) => Ok(Argument::Int(row)),
            _ => Err(Error::shape(
                "pooling on a card",
                format!(
                    "{} rows of {row} numbers a step are more than its kernels count to",
                    self.batch
                ),
                "use a smaller batch",
            )),
        }
    }

    /// A thread a column.
    pub fn geometry(self) -> Result<Geometry> {
        Geometry::of(i64::from(self.batch) * i64::from(self.hidden), BLOCK)
    }

    pub fn arguments(self) -> [Argument; 3] {
        [self.seq, self.batch, self.hidden].map(Argument::Int)
    }
}

/// The first of a contiguous tensor's numbers.
pub fn at(tensor: &Tensor) -> Argument {
    debug_assert!(tensor.is_contiguous());
    Argument::Pointer(tensor.data_ptr())
}

/// As [`at`]; null where there is none.
pub fn at_or_null(tensor: Option<&Tensor>) -> Argument {
    tensor.map_or(Argument::Pointer(ptr::null_mut()), at)
}

pub fn contiguous(tensor: Option<&Tensor>) -> Result<Option<Tensor>> {
    Ok(tensor.map(Tensor::f_contiguous).transpose()?)
}
