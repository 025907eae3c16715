//! Launch geometry and arguments of the pooling kernels.

use std::ptr;

use tch::Tensor;

use crate::cuda::{Argument, Geometry};
use crate::{Error, Result};

/// BLOCK of `kernels/column.cuh`: threads of a block.
pub const BLOCK: u32 = 64;

/// Sequence length, batch size and features.
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
                "pooling on a GPU",
                format!("shape ({seq}, {batch}, {hidden}) does not fit in 32-bit integers"),
                "split the tensor",
            )),
        }
    }

    /// A row stride as an argument of the kernels.
    pub fn row(self, row: i64) -> Result<Argument> {
        let step = i64::from(self.batch).checked_mul(row).map(i32::try_from);
        match (step, i32::try_from(row)) {
            (Some(Ok(_)), Ok(row)) => Ok(Argument::Int(row)),
            _ => Err(Error::shape(
                "pooling on a GPU",
                format!(
                    "{} rows of {row} elements per time step do not fit in 32-bit integers",
                    self.batch
                ),
                "use a smaller batch",
            )),
        }
    }

    /// One thread per (batch column, feature).
    pub fn geometry(self) -> Result<Geometry> {
        Geometry::of(i64::from(self.batch) * i64::from(self.hidden), BLOCK)
    }

    /// seq, batch and hidden, in the kernels' order.
    pub fn arguments(self) -> [Argument; 3] {
        [self.seq, self.batch, self.hidden].map(Argument::Int)
    }
}

/// Pointer to the first element of a contiguous tensor.
pub fn at(tensor: &Tensor) -> Argument {
    debug_assert!(tensor.is_contiguous());
    Argument::Pointer(tensor.data_ptr())
}

/// As [`at`]; null for `None`.
pub fn at_or_null(tensor: Option<&Tensor>) -> Argument {
    tensor.map_or(Argument::Pointer(ptr::null_mut()), at)
}

pub fn contiguous(tensor: Option<&Tensor>) -> Result<Option<Tensor>> {
    Ok(tensor.map(Tensor::f_contiguous).transpose()?)
}
