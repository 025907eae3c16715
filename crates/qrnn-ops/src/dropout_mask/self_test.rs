//! Compares masks of a device with the CPU.

use std::sync::Arc;

use tch::{Device, Kind};

use super::bernoulli::Bernoulli;
use super::cuda::CudaSampler;
use super::sampler::MaskSampler;
use crate::Result;
use crate::cuda::{Launch, assert_close};

/// Samples small masks, which must equal the CPU's.
///
/// # Errors
/// [`crate::Error::Unavailable`] if they differ.
pub fn self_test(launcher: &Arc<dyn Launch>, device: Device) -> Result<()> {
    let (key, values) = ([7; 32], Bernoulli::dropout(0.3));
    for kind in [Kind::Float, Kind::BFloat16] {
        let mut ours = MaskSampler::on_cuda(CudaSampler::new(launcher.clone(), key));
        let mut expected = MaskSampler::on_cpu(key);
        // The second mask starts within a block of the generator, and is not aligned to 16 bytes.
        for n in [1003, 5000] {
            let masks = (
                ours.sample(values, &[n], (kind, device))?,
                expected.sample(values, &[n], (kind, Device::Cpu))?,
            );
            if let (Some(ours), Some(expected)) = masks {
                assert_close(&format!("dropout mask in {kind:?}"), &ours, &expected, 0.0)?;
            }
        }
    }
    Ok(())
}
