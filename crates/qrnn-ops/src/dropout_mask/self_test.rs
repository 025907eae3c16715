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
        // The second mask starts within a block of the generator. Rows of some of the last one's columns
        // start within blocks, too, and are not aligned to 16 bytes.
        for (size, columns) in [([1, 1, 1003], 0..1), ([1, 1, 5000], 0..1), ([9, 5, 37], 1..4)] {
            let masks = (
                ours.sample_columns(values, size, columns.clone(), (kind, device))?,
                expected.sample_columns(values, size, columns, (kind, Device::Cpu))?,
            );
            if let (Some(ours), Some(expected)) = masks {
                assert_close(&format!("dropout mask in {kind:?}"), &ours, &expected, 0.0)?;
            }
        }
    }
    Ok(())
}
