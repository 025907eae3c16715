//! Chooses the device to compute on.

use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};

use tch::Device;

use crate::cuda::{Compiler, CudaDevice, Driver, Launch, libraries};
use crate::{Error, Result, self_test};

/// Set to `1`, [`cuda`] skips the self-test of the GPU.
///
/// This is for `cargo xtask cuda-dry-run` alone, whose stand-in for a GPU computes nothing and so
/// fails every test of results. On a real GPU it would let wrong results through.
pub const SKIP_SELF_TEST: &str = "QRNN_SKIP_SELF_TEST";

/// The first GPU, once all that computing on it needs is there: a driver, NVRTC, a GPU that is
/// not too old, libtorch's CUDA part. The first time in a process, the GPU is also given some work
/// whose outcome the CPU knows, unless [`SKIP_SELF_TEST`] says otherwise.
///
/// # Errors
/// [`Error::Unavailable`]: the first of these that is missing, and how to get it; or what went wrong.
pub fn cuda() -> Result<Device> {
    let driver = Driver::open()?;
    let compiler = Compiler::open()?;
    driver.check(&compiler)?;
    compiler.target(driver.capability(0)?)?;
    libraries::libtorch_cuda()?;
    if !tch::Cuda::is_available() {
        return Err(Error::unavailable(
            "CUDA",
            "the driver finds a GPU, but libtorch finds none",
            "see what `nvidia-smi` and CUDA_VISIBLE_DEVICES say, or use --device cpu",
        ));
    }
    static PASSED: OnceLock<()> = OnceLock::new();
    if PASSED.get().is_none() && !self_test_is_skipped() {
        let card: Arc<dyn Launch> = CudaDevice::of(0)?;
        self_test::self_test(&card, Device::Cuda(0))?;
        let _ = PASSED.set(());
    }
    Ok(Device::Cuda(0))
}

/// The first GPU, or else the CPU and, in one line, why no GPU.
pub fn cuda_or_cpu() -> (Device, Option<String>) {
    match cuda() {
        Ok(device) => (device, None),
        Err(Error::Unavailable { problem, .. }) => (Device::Cpu, Some(problem)),
        Err(error) => (Device::Cpu, Some(error.to_string())),
    }
}

/// Whether [`SKIP_SELF_TEST`] says that the device computes nothing.
pub fn self_test_is_skipped() -> bool {
    skips_self_test(std::env::var_os(SKIP_SELF_TEST).as_deref())
}

/// Whether this value of [`SKIP_SELF_TEST`] skips the test: `1` and nothing else, so that a variable
/// that is merely set, or set to `0`, keeps the test.
fn skips_self_test(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_one_skips_the_self_test() {
        assert!(skips_self_test(Some(OsStr::new("1"))));
        for value in ["", "0", "off", "true", "11", " 1"] {
            assert!(!skips_self_test(Some(OsStr::new(value))), "{value:?}");
        }
        assert!(!skips_self_test(None));
    }
}
