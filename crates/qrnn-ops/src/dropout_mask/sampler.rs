//! Samples masks from one random stream.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tch::{Device, Kind, Tensor};

use super::bernoulli::Bernoulli;
use super::cuda::CudaSampler;
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
    /// [`crate::Error::Torch`] if memory runs out; [`crate::Error::Cuda`] if the kernel cannot be launched.
    pub fn sample(
        &mut self,
        values: Bernoulli,
        size: &[i64],
        options: (Kind, Device),
    ) -> Result<Option<Tensor>> {
        if values.p == 0.0 {
            return Ok(None);
        }
        Ok(Some(match &mut self.0 {
            BackEnd::Cpu(random) => sample_on_cpu(values, size, options, random)?,
            BackEnd::Cuda(sampler) => sampler.sample(values, size, options)?,
        }))
    }
}

pub(super) fn sample_on_cpu(
    Bernoulli { p, scale }: Bernoulli,
    size: &[i64],
    (kind, device): (Kind, Device),
    random: &mut ChaCha8Rng,
) -> Result<Tensor> {
    let n: i64 = size.iter().product();
    let values: Vec<f32> = (0..n)
        .map(|_| if random.random::<f32>() < p as f32 { 0.0 } else { scale as f32 })
        .collect();
    Ok(upload(&values, device)?.f_view(size)?.f_to_kind(kind)?)
}
