//! Masks made on a GPU by `kernels/dropout_mask.cu`, from the words of the random stream that the CPU
//! would draw.
//!
//! What launches is given as a [`Launch`]: a GPU, or the tests' host shim, which runs the same source on
//! the CPU with tensors that lie there.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::bernoulli::Bernoulli;
use crate::cuda::headers::COLUMN;
use crate::cuda::{Argument, Geometry, Kernel, Launch, Source};
use crate::{Error, Result};

/// A mask from any part of a ChaCha8 stream.
pub(crate) static DROPOUT_MASK: Source = Source {
    name: "dropout_mask.cu",
    text: include_str!("../../kernels/dropout_mask.cu"),
    headers: &[COLUMN],
};

/// MASK_THREADS of the kernel.
const MASK_THREADS: u32 = 128;

/// Words of a ChaCha block, which a thread makes.
const WORDS: i64 = 16;

/// A stream of random words that is read on a GPU, from its first word on.
pub(super) struct CudaSampler {
    launcher: Arc<dyn Launch>,
    key: [i64; 4],
    /// Words that the masks so far took.
    taken: i64,
}

impl CudaSampler {
    pub fn new(launcher: Arc<dyn Launch>, bytes: [u8; 32]) -> Self {
        let mut key = [0; 4];
        for (number, bytes) in key.iter_mut().zip(bytes.as_chunks().0) {
            *number = i64::from_le_bytes(*bytes);
        }
        Self { launcher, key, taken: 0 }
    }

    /// A mask from the next words, one a number.
    pub fn sample(
        &mut self,
        values: Bernoulli,
        size: &[i64],
        (kind, device): (Kind, Device),
    ) -> Result<Tensor> {
        let stored = if kind == Kind::BFloat16 { kind } else { Kind::Float };
        let mask = Tensor::f_empty(size, (stored, device))?;
        self.fill(values, &mask)?;
        Ok(mask.f_to_kind(kind)?)
    }

    /// Fills a contiguous tensor of kind Float or BFloat16 that lies on the launcher's device.
    fn fill(&mut self, values: Bernoulli, mask: &Tensor) -> Result<()> {
        let n = mask.numel() as i64;
        let first = self.taken;
        self.taken = first.checked_add(n).ok_or_else(|| {
            Error::shape("dropout on a GPU", "the masks are too large", "use a smaller batch")
        })?;
        if n == 0 {
            return Ok(());
        }
        let name = match mask.kind() {
            Kind::BFloat16 => "dropout_mask_bf16",
            _ => "dropout_mask_f32",
        };
        let blocks = (self.taken - 1) / WORDS - first / WORDS + 1;
        let [key_0, key_1, key_2, key_3] = self.key.map(Argument::Long);
        debug_assert!(mask.is_contiguous() && (mask.data_ptr() as usize).is_multiple_of(16));
        let arguments = &mut [
            Argument::Pointer(mask.data_ptr()),
            Argument::Long(n),
            Argument::Long(first),
            Argument::Int(threshold(values.p)),
            Argument::Float(values.kept as f32),
            key_0,
            key_1,
            key_2,
            key_3,
        ];
        let geometry = Geometry::of(blocks, MASK_THREADS)?;
        // SAFETY: the parameters of dropout_mask_* in order; the tensor has n numbers of the kernel's kind
        // on the launcher's device, and was allocated for them.
        unsafe { self.launcher.launch(Kernel { source: &DROPOUT_MASK, name }, geometry, arguments) }
    }
}

/// How many of the 2²⁴ values that a draw can have are below p, as the CPU compares them: in f32.
fn threshold(p: f64) -> i32 {
    (f64::from(p as f32) * f64::from(1 << 24)).ceil() as i32
}

#[cfg(test)]
mod tests;
