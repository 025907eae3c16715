//! Runs every operation of a training step on a device with small inputs, and compares the results with
//! the CPU.

use std::sync::Arc;

use tch::Device;

use crate::cuda::Launch;
use crate::cuda::compare::REMEDY;
use crate::{Error, Result, adam, dropout_mask, fo_pool, matmul, split_softmax};

/// Tests every operation on a device.
///
/// # Errors
/// [`Error::Unavailable`] naming the operation that failed or gave a wrong result.
pub fn self_test(launcher: &Arc<dyn Launch>, device: Device) -> Result<()> {
    let all = || {
        fo_pool::self_test(launcher, device)?;
        split_softmax::self_test(&**launcher, device)?;
        dropout_mask::self_test(launcher, device)?;
        adam::self_test(&**launcher, device)?;
        matmul::self_test(device)
    };
    // The caller may have disabled gradients.
    tch::with_grad(all).map_err(|error| match error {
        Error::Unavailable { .. } => error,
        _ => Error::unavailable("CUDA", format!("the GPU fails: {error}"), REMEDY),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::host_shim::HostShim;
    use crate::cuda::{Argument, Geometry, Kernel};

    /// Launches this kernel with wrong factors: its Float arguments times 1.1.
    struct WrongFactor(&'static str);

    impl Launch for WrongFactor {
        unsafe fn launch(
            &self,
            kernel: Kernel,
            geometry: Geometry,
            arguments: &mut [Argument],
        ) -> Result<()> {
            if kernel.name == self.0 {
                for argument in arguments.iter_mut() {
                    if let Argument::Float(factor) = argument {
                        *factor *= 1.1;
                    }
                }
            }
            // SAFETY: by this function's contract; any factor is valid.
            unsafe { HostShim::get().unwrap().launch(kernel, geometry, arguments) }
        }
    }

    /// Does not launch the update of Adam.
    struct WithoutUpdate;

    impl Launch for WithoutUpdate {
        unsafe fn launch(
            &self,
            kernel: Kernel,
            geometry: Geometry,
            arguments: &mut [Argument],
        ) -> Result<()> {
            if kernel.name == "adam" {
                return Ok(());
            }
            // SAFETY: by this function's contract.
            unsafe { HostShim::get().unwrap().launch(kernel, geometry, arguments) }
        }
    }

    struct Failing;

    impl Launch for Failing {
        unsafe fn launch(&self, _: Kernel, _: Geometry, _: &mut [Argument]) -> Result<()> {
            let [what, problem, remedy] = ["a kernel", "no", "none"].map(String::from);
            Err(Error::Cuda { what, problem, remedy })
        }
    }

    #[test]
    fn correct_kernels_pass_and_each_wrong_one_is_named() {
        let check = |launcher: Arc<dyn Launch>| self_test(&launcher, Device::Cpu);
        let _no_grad = tch::no_grad_guard();
        check(HostShim::get().unwrap()).unwrap();
        for (kernel, what) in [
            ("fo_pool_forward_f32", "pooling in Float"),
            ("fo_pool_backward_f32", "gradient of pooling in Float"),
            ("fo_pool_forward_bf16", "pooling in BFloat16"),
            ("fo_pool_backward_bf16", "gradient of pooling in BFloat16"),
            ("dropout_mask_f32", "dropout mask in Float"),
            ("dropout_mask_bf16", "dropout mask in BFloat16"),
            ("cross_entropy_f32_128", "gradient of the cross entropy in Float by 128 threads"),
            ("cross_entropy_f32_1024", "gradient of the cross entropy in Float by 1024 threads"),
            ("cross_entropy_bf16_256", "gradient of the cross entropy in BFloat16 by 256 threads"),
            ("cross_entropy_bf16_512", "gradient of the cross entropy in BFloat16 by 512 threads"),
        ] {
            let error = check(Arc::new(WrongFactor(kernel))).unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }));
            assert!(error.to_string().contains(&format!("its {what} is")), "{kernel}: {error}");
        }
        let error = check(Arc::new(WithoutUpdate)).unwrap_err();
        assert!(error.to_string().contains("its step of Adam is"), "{error}");
        let error = check(Arc::new(Failing)).unwrap_err();
        assert!(error.to_string().contains("the GPU fails: CUDA: a kernel"), "{error}");
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_the_self_test_passes_within_a_second() {
        crate::device::cuda().unwrap(); // compiles the kernels
        let launcher: Arc<dyn Launch> = crate::cuda::CudaDevice::of(0).unwrap();
        let started = std::time::Instant::now();
        self_test(&launcher, Device::Cuda(0)).unwrap();
        assert!(started.elapsed().as_secs_f64() < 1.0);
    }
}
