//! Samples masks on a GPU by `kernels/dropout_mask.cu`, from the same words of the random stream as
//! the CPU.
//!
//! A [`Launch`] is a GPU, or in tests the host shim, which runs the same source on CPU tensors.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::bernoulli::Bernoulli;
use super::word_rows::{WordRows, too_large};
use crate::Result;
use crate::cuda::headers::COLUMN;
use crate::cuda::{Argument, Geometry, Kernel, Launch, Source};

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

    /// A mask of this size from the next words, as many as its elements.
    pub fn sample(
        &mut self,
        values: Bernoulli,
        words: WordRows,
        size: &[i64],
        (kind, device): (Kind, Device),
    ) -> Result<Tensor> {
        let sampled = if kind == Kind::BFloat16 { kind } else { Kind::Float };
        let mask = Tensor::f_empty(size, (sampled, device))?;
        self.fill(values, words, &mask)?;
        Ok(mask.f_to_kind(kind)?)
    }

    /// Fills a contiguous tensor of kind Float or BFloat16 on the launcher's device, by one launch.
    fn fill(&mut self, values: Bernoulli, words: WordRows, mask: &Tensor) -> Result<()> {
        let end = self.position.checked_add(words.consumed()).ok_or_else(too_large)?;
        let first = self.position + words.skipped;
        self.position = end;
        debug_assert_eq!(mask.numel() as i64, words.sampled());
        if words.sampled() == 0 {
            return Ok(());
        }
        let name = match mask.kind() {
            Kind::BFloat16 => "dropout_mask_bf16",
            _ => "dropout_mask_f32",
        };
        let (blocks, geometry) = blocks_and_geometry(words, first)?;
        let [key_0, key_1, key_2, key_3] = self.key.map(Argument::Long);
        debug_assert!(mask.is_contiguous() && (mask.data_ptr() as usize).is_multiple_of(16));
        let arguments = &mut [
            Argument::Pointer(mask.data_ptr()),
            Argument::Int(words.rows as i32),
            Argument::Int(blocks),
            Argument::Long(words.n),
            Argument::Long(first),
            Argument::Long(words.stride),
            Argument::Int(threshold(values.p)),
            Argument::Float(values.scale as f32),
            key_0,
            key_1,
            key_2,
            key_3,
        ];
        // SAFETY: the parameters of dropout_mask_* in order; the tensor has rows × n elements of the kernel's
        // kind on the launcher's device.
        unsafe { self.launcher.launch(Kernel { source: &DROPOUT_MASK, name }, geometry, arguments) }
    }
}

/// Threads in a row, one for each ChaCha block that its words may lie in, and the launch that has them for
/// all rows, of which the first begins at word `first`.
fn blocks_and_geometry(words: WordRows, first: i64) -> Result<(i32, Geometry)> {
    // All rows begin at first modulo `alignment`, the largest power of two that divides both stride and block.
    let alignment = match words.rows {
        1 => WORDS,
        _ => WORDS.min(1 << words.stride.trailing_zeros()),
    };
    let latest_begin = first % alignment + WORDS - alignment;
    let blocks = (latest_begin + words.n - 1) / WORDS + 1;
    // The kernel counts threads in 32 bits.
    let threads = words.rows.checked_mul(blocks).filter(|n| i32::try_from(*n).is_ok());
    let geometry = Geometry::of(threads.ok_or_else(too_large)?, MASK_THREADS)?;
    Ok((blocks as i32, geometry))
}

/// How many of the 2²⁴ values of a random f32 are below p, compared in f32 as on the CPU.
fn threshold(p: f64) -> i32 {
    (f64::from(p as f32) * f64::from(1 << 24)).ceil() as i32
}

#[cfg(test)]
mod tests;
