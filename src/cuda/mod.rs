//! CUDA kernels of our own on libtorch's tensors, with nothing of CUDA at build time.
//!
//! One program serves machines with and without a GPU. It is linked against libtorch's CPU part;
//! where there is an NVIDIA driver, the CUDA part is loaded as the process starts (see
//! [`libraries`]). A kernel's source is part of the program: NVRTC compiles it for the card at hand
//! the first time it is wanted, and the image is kept in the user's cache folder. Kernels run on
//! libtorch's current stream, so that they take their place among its own.

mod card;
mod clock;
mod compiler;
#[cfg(test)]
pub(crate) mod host;
mod image_cache;
mod kernel;
pub mod libraries;
mod trial;

use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};

use tch::Device;

pub use card::Card;
pub use clock::{Clock, Mark};
pub use compiler::{Compiler, Target};
pub use kernel::{Argument, Geometry, Kernel, Launch, Source};
pub(crate) use trial::{agree, numbers};

use crate::{Error, Result};

/// Set to `1`, [`device`] skips the self-test of the GPU.
///
/// This is for `cargo xtask cuda-dry-run` alone, whose stand-in for a GPU computes nothing and so
/// fails every test of results. On a real GPU it would let wrong results through.
pub const SKIP_SELF_TEST: &str = "QRNN_SKIP_SELF_TEST";

/// The first card, once all that computing on it needs is there: a driver, NVRTC, a card that is
/// not too old, libtorch's CUDA part. The first time in a process, the card is also given some work
/// whose outcome the CPU knows, unless [`SKIP_SELF_TEST`] says otherwise.
///
/// # Errors
/// [`Error::Unavailable`]: the first of these that is missing, and how to get it; or what went wrong.
pub fn device() -> Result<Device> {
    let driver = card::Driver::open()?;
    let compiler = Compiler::open()?;
    driver.check(&compiler)?;
    compiler.target(driver.capability(0)?)?;
    libraries::libtorch_cuda()?;
    if !tch::Cuda::is_available() {
        return Err(Error::unavailable(
            "CUDA",
            "the driver finds a card, but libtorch finds none",
            "see what `nvidia-smi` and CUDA_VISIBLE_DEVICES say, or use --device cpu",
        ));
    }
    static PASSED: OnceLock<()> = OnceLock::new();
    if PASSED.get().is_none() && !self_test_is_skipped() {
        let card: Arc<dyn Launch> = Card::of(0)?;
        trial::check(&card, Device::Cuda(0))?;
        let _ = PASSED.set(());
    }
    Ok(Device::Cuda(0))
}

/// What launches our kernels on tensors of this device: its card, or nothing for the CPU, whose
/// kernels are Rust's.
///
/// # Errors
/// [`Error::Unavailable`] where the card cannot be had.
pub(crate) fn launcher(device: Device) -> Result<Option<Arc<dyn Launch>>> {
    match device {
        Device::Cuda(ordinal) => Ok(Some(Card::of(ordinal)?)),
        #[cfg(test)]
        _ if host::stands_in() => Ok(Some(host::Host::get())),
        _ => Ok(None),
    }
}

/// Whether tensors of this device are computed with as on a GPU.
pub(crate) fn is_gpu(device: Device) -> bool {
    #[cfg(test)]
    let stands_in = host::stands_in();
    #[cfg(not(test))]
    let stands_in = false;
    device.is_cuda() || stands_in
}

/// The first card, or else the CPU and, in one line, why no card.
pub fn device_or_cpu() -> (Device, Option<String>) {
    match device() {
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
