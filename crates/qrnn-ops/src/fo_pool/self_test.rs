//! fo-pooling on a device, compared with the CPU's.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::cuda;
use super::operation::fo_pool;
use super::options::{FoPoolOptions, Pooled, Zoneout};
use crate::Result;
use crate::cuda::{Launch, assert_close, test_pattern};

/// One of the ways to pool gates with a state.
type Pool<'a> = &'a dyn Fn(&Tensor, &Tensor) -> Result<Pooled>;

/// Small calls with their gradients, held against the CPU's.
///
/// # Errors
/// [`Error::Unavailable`] where they disagree.
pub fn self_test(launcher: &Arc<dyn Launch>, device: Device) -> Result<()> {
    // Several strides of time steps and several blocks; the rows of the gates further apart.
    let (seq, batch, hidden) = (19, 3, 50);
    let [gates, weights] =
        [3 * hidden + 10, hidden].map(|width| test_pattern(&[seq, batch, width], 2.0));
    let (gates, weights, before) = (gates?, weights?, test_pattern(&[batch, hidden], 1.0)?);
    for (kind, bound) in [(Kind::Float, 1e-5), (Kind::BFloat16, 1e-2)] {
        let [gates, weights] = [&gates, &weights].map(|tensor| tensor.f_to_kind(kind));
        let (gates, weights) = (gates?, weights?);
        let run = |device, kind, pool: Pool<'_>| -> Result<(Tensor, Tensor)> {
            let there = |tensor: &Tensor| tensor.f_to_device(device)?.f_to_kind(kind);
            let gates = there(&gates)?.f_narrow(2, 0, 3 * hidden)?.f_set_requires_grad(true)?;
            let output = pool(&gates, &before.f_to_device(device)?)?.output;
            let score = output.f_mul(&there(&weights)?)?.f_sum(Kind::Float)?;
            let mut grads = Tensor::f_run_backward(&[&score], &[&gates], false, false)?;
            Ok((output, grads.swap_remove(0)))
        };
        let (output, grad) = run(device, kind, &|gates, before| {
            let options = FoPoolOptions { zoneout: Zoneout::Off, dropout: None };
            let augmented = cuda::fo_pool(launcher.clone(), gates, before, options, hidden + 6)?;
            let output = augmented.output.f_narrow(2, 0, hidden)?;
            Ok(Pooled { output, state: augmented.state })
        })?;
        let (exact, exact_grad) = run(Device::Cpu, Kind::Float, &|gates, before| {
            fo_pool(gates, before, FoPoolOptions::default())
        })?;
        assert_close(&format!("pooling in {kind:?}"), &output, &exact, bound)?;
        assert_close(&format!("gradient of pooling in {kind:?}"), &grad, &exact_grad, bound)?;
    }
    Ok(())
}
