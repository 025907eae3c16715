//! Samples masks from one random stream.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tch::{Device, Kind, Tensor};

use super::bernoulli::Bernoulli;
use super::cuda::CudaSampler;
use super::word_rows::WordRows;
use crate::libtorch::upload;
use crate::{Result, cuda};

/// Samples masks from a ChaCha8 stream. Each element of a mask consumes one 32-bit word of the
/// stream, so CPU and CUDA sample the same masks.
pub struct MaskSampler(BackEnd);

enum BackEnd {
    Cpu(Box<ChaCha8Rng>),
    Cuda(CudaSampler),
}

impl MaskSampler {
    /// A sampler for masks on `device`.
    ///
    /// * `key`: of the ChaCha8 generator; counter and nonce start at 0.
    ///
    /// # Errors
    /// [`crate::Error::Unavailable`] if the GPU is not available.
    pub fn new(device: Device, key: [u8; 32]) -> Result<Self> {
        Ok(match cuda::launcher(device)? {
            Some(launcher) => Self::on_cuda(CudaSampler::new(launcher, key)),
            None => Self::on_cpu(key),
        })
    }

    pub(super) fn on_cpu(key: [u8; 32]) -> Self {
        Self(BackEnd::Cpu(Box::new(ChaCha8Rng::from_seed(key))))
    }

    pub(super) fn on_cuda(sampler: CudaSampler) -> Self {
        Self(BackEnd::Cuda(sampler))
    }

    /// The next mask, of this size; `None` for p = 0, which consumes no words of the stream.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the masks are too large; [`crate::Error::Torch`] if memory runs out;
    /// [`crate::Error::Cuda`] if the kernel cannot be launched.
    pub fn sample(
        &mut self,
        values: Bernoulli,
        size: &[i64],
        options: (Kind, Device),
    ) -> Result<Option<Tensor>> {
        if values.p == 0.0 {
            return Ok(None);
        }
        self.sample_words(values, WordRows::all(size)?, size, options).map(Some)
    }

    /// Columns of the next mask, (rows, columns, width): the mask of the whole batch, whose size is `[rows,
    /// batch, width]`, narrowed to them. It consumes as many words of the stream as the whole mask, but
    /// computes only those of its elements. `None` for p = 0, which consumes no words.
    ///
    /// # Errors
    /// Those of [`Self::sample`]; [`crate::Error::Shape`] if the batch does not have these columns.
    pub fn sample_columns(
        &mut self,
        values: Bernoulli,
        size: [i64; 3],
        columns: Range<i64>,
        options: (Kind, Device),
    ) -> Result<Option<Tensor>> {
        let words = WordRows::of_columns(size, &columns)?;
        if values.p == 0.0 {
            return Ok(None);
        }
        let [rows, _, width] = size;
        let size = [rows, columns.end - columns.start, width];
        self.sample_words(values, words, &size, options).map(Some)
    }

    fn sample_words(
        &mut self,
        values: Bernoulli,
        words: WordRows,
        size: &[i64],
        options: (Kind, Device),
    ) -> Result<Tensor> {
        match &mut self.0 {
            BackEnd::Cpu(random) => sample_on_cpu(values, words, size, options, random),
            BackEnd::Cuda(sampler) => sampler.sample(values, words, size, options),
        }
    }
}

fn sample_on_cpu(
    Bernoulli { p, scale }: Bernoulli,
    words: WordRows,
    size: &[i64],
    (kind, device): (Kind, Device),
    random: &mut ChaCha8Rng,
) -> Result<Tensor> {
    let begin = random.get_word_pos();
    let mut values: Vec<f32> = Vec::with_capacity(words.sampled() as usize);
    for row in 0..words.rows {
        seek(random, begin + (words.skipped + row * words.stride) as u128);
        let draw = |_| if random.random::<f32>() < p as f32 { 0.0 } else { scale as f32 };
        values.extend((0..words.n).map(draw));
    }
    seek(random, begin + words.consumed() as u128);
    Ok(upload(&values, device)?.f_view(size)?.f_to_kind(kind)?)
}

/// Continues at a position of the stream. A generator that is there already keeps the words that it has computed.
fn seek(random: &mut ChaCha8Rng, position: u128) {
    if random.get_word_pos() != position {
        random.set_word_pos(position);
    }
}

#[cfg(test)]
mod tests;
