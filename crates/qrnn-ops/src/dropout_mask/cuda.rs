//! Samples masks on a GPU by `kernels/dropout_mask.cu`, from the same words of the random stream as
//! the CPU.
//!
//! A [`Launch`] is a GPU, or in tests the host shim, which runs the same source on CPU tensors.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::bernoulli::Bernoulli;
use crate::cuda::headers::COLUMN;
use crate::cuda::{Argument, Geometry, Kernel, Launch, Source};
use crate::{Error, Result};

/// The kernels that sample masks from a ChaCha8 stream.
pub(crate) static DROPOUT_MASK: Source = Source {
    name: "dropout_mask.cu",
    text: include_str!("../../kernels/dropout_mask.cu"),
    headers: &[COLUMN],
};

/// MASK_THREADS of the kernel.
const MASK_THREADS: u32 = 128;

/// Words of a ChaCha block, which one thread computes.
const WORDS: i64 = 16;

/// A random stream that is read on a GPU.
pub(super) struct CudaSampler {
    launcher: Arc<dyn Launch>,
    key: [i64; 4],
    /// Index of the next word.
    position: i64,
}

impl CudaSampler {
    pub fn new(launcher: Arc<dyn Launch>, bytes: [u8; 32]) -> Self {
        let mut key = [0; 4];
        for (word, bytes) in key.iter_mut().zip(bytes.as_chunks().0) {
            *word = i64::from_le_bytes(*bytes);
        }
        Self { launcher, key, position: 0 }
    }

    /// A mask from the next words, one per element.
    pub fn sample(
        &mut self,
        values: Bernoulli,
        size: &[i64],
        (kind, device): (Kind, Device),
    ) -> Result<Tensor> {
        let sampled = if kind == Kind::BFloat16 { kind } else { Kind::Float };
        let mask = Tensor::f_empty(size, (sampled, device))?;
        self.fill(values, &mask)?;
        Ok(mask.f_to_kind(kind)?)
    }

    /// Fills a contiguous tensor of kind Float or BFloat16 on the launcher's device.
    fn fill(&mut self, values: Bernoulli, mask: &Tensor) -> Result<()> {
        let n = mask.numel() as i64;
        let first = self.position;
        self.position = first.checked_add(n).ok_or_else(|| {
            Error::shape("dropout on a GPU", "the masks are too large", "use a smaller batch")
        })?;
        if n == 0 {
            return Ok(());
        }
        let name = match mask.kind() {
            Kind::BFloat16 => "dropout_mask_bf16",
            _ => "dropout_mask_f32",
        };
        let blocks = (self.position - 1) / WORDS - first / WORDS + 1;
        let [key_0, key_1, key_2, key_3] = self.key.map(Argument::Long);
        debug_assert!(mask.is_contiguous() && (mask.data_ptr() as usize).is_multiple_of(16));
        let arguments = &mut [
            Argument::Pointer(mask.data_ptr()),
            Argument::Long(n),
            Argument::Long(first),
            Argument::Int(threshold(values.p)),
            Argument::Float(values.scale as f32),
            key_0,
            key_1,
            key_2,
            key_3,
        ];
        let geometry = Geometry::of(blocks, MASK_THREADS)?;
        // SAFETY: the parameters of dropout_mask_* in order; the tensor has n elements of the kernel's kind
        // on the launcher's device.
        unsafe { self.launcher.launch(Kernel { source: &DROPOUT_MASK, name }, geometry, arguments) }
    }
}

/// How many of the 2²⁴ values of a random f32 are below p, compared in f32 as on the CPU.
fn threshold(p: f64) -> i32 {
    (f64::from(p as f32) * f64::from(1 << 24)).ceil() as i32
}

#[cfg(test)]
mod tests;
