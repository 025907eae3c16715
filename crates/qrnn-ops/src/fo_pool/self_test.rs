//! Compares fo-pooling on a device with the CPU.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::cuda;
use super::operation::fo_pool;
use super::options::{FoPoolOptions, Pooled, Zoneout};
use crate::Result;
use crate::cuda::{Launch, assert_close, test_pattern};

/// fo-pooling of gates with an initial state.
type Pool<'a> = &'a dyn Fn(&Tensor, &Tensor) -> Result<Pooled>;

/// Compares outputs and gradients of small calls with the CPU.
///
/// # Errors
/// [`crate::Error::Unavailable`] if they differ.
pub fn self_test(launcher: &Arc<dyn Launch>, device: Device) -> Result<()> {
    // Several strides of time steps, several blocks, and rows of gates that are not contiguous.
    let (seq, batch, hidden) = (19, 3, 50);
    let [gates, weights] =
        [3 * hidden + 10, hidden].map(|width| test_pattern(&[seq, batch, width], 2.0));
    let (gates, weights, initial_state) = (gates?, weights?, test_pattern(&[batch, hidden], 1.0)?);
    for (kind, bound) in [(Kind::Float, 1e-5), (Kind::BFloat16, 1e-2)] {
        let [gates, weights] = [&gates, &weights].map(|tensor| tensor.f_to_kind(kind));
        let (gates, weights) = (gates?, weights?);
        let run = |device, kind, pool: Pool<'_>| -> Result<(Tensor, Tensor)> {
            let to_device = |tensor: &Tensor| tensor.f_to_device(device)?.f_to_kind(kind);
            let gates = to_device(&gates)?.f_narrow(2, 0, 3 * hidden)?.f_set_requires_grad(true)?;
            let output = pool(&gates, &initial_state.f_to_device(device)?)?.output;
            let score = output.f_mul(&to_device(&weights)?)?.f_sum(Kind::Float)?;
            let mut grads = Tensor::f_run_backward(&[&score], &[&gates], false, false)?;
            Ok((output, grads.swap_remove(0)))
        };
        let (output, grad) = run(device, kind, &|gates, initial_state| {
            let options = FoPoolOptions { zoneout: Zoneout::Off, dropout: None };
            let augmented =
                cuda::fo_pool(launcher.clone(), gates, initial_state, options, hidden + 6)?;
            let output = augmented.output.f_narrow(2, 0, hidden)?;
            Ok(Pooled { output, state: augmented.state })
        })?;
        let (exact, exact_grad) = run(Device::Cpu, Kind::Float, &|gates, initial_state| {
            fo_pool(gates, initial_state, FoPoolOptions::default())
        })?;
        assert_close(&format!("pooling in {kind:?}"), &output, &exact, bound)?;
        assert_close(&format!("gradient of pooling in {kind:?}"), &grad, &exact_grad, bound)?;
    }
    Ok(())
}
