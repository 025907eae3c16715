//! The NVIDIA driver: its version, its devices, its error messages.

use std::ffi::c_int;

use cudarc::driver::result::{self as driver, DriverError};
use cudarc::driver::sys;

use super::compiler::Compiler;
use super::libraries;
use crate::{Error, Result};

/// The NVIDIA driver, loaded and initialized.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    /// The CUDA version that it supports, 13000 for 13.0.
    pub(super) version: i32,
}

impl Driver {
    /// Loads and initializes the driver.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no driver, or no GPU.
    pub fn open() -> Result<Self> {
        libraries::driver()?;
        let refused = |error: DriverError| unavailable(&error);
        // SAFETY: looks up the library that was loaded above.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::unavailable(
                "CUDA",
                "the driver's library was loaded, but is not found by its name",
                "add the folder of libcuda.so.1 to LD_LIBRARY_PATH",
            ));
        }
        driver::init().map_err(refused)?;
        if driver::device::get_count().map_err(refused)? == 0 {
            return Err(unavailable(&DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)));
        }
        let mut version: c_int = 0;
        // SAFETY: writes one int.
        unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(refused)?;
        Ok(Self { version })
    }

    /// Checks that the driver can load the compiler's images.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the driver is too old.
    pub fn check(self, compiler: &Compiler) -> Result<()> {
        let (major, minor) = compiler.version();
        if self.version / 1000 >= major {
            return Ok(());
        }
        Err(Error::unavailable(
            "CUDA",
            format!(
                "the NVIDIA driver is too old: it speaks CUDA {}.{}, and libtorch and NVRTC are of \
                 CUDA {major}.{minor}",
                self.version / 1000,
                self.version % 1000 / 10
            ),
            "update the driver (CUDA 13 needs 580 or later), or use Device::Cpu",
        ))
    }

    /// A GPU's compute capability, major and minor.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no such GPU.
    pub fn capability(self, ordinal: usize) -> Result<(i32, i32)> {
        use sys::CUdevice_attribute::*;
        let device = device(ordinal)?;
        // SAFETY: a device of the driver.
        let attribute = |attribute| unsafe { driver::device::get_attribute(device, attribute) };
        let value = |name| attribute(name).map_err(|error| unavailable(&error));
        Ok((
            value(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            value(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ))
    }
}

pub(super) fn device(ordinal: usize) -> Result<sys::CUdevice> {
    let ordinal = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
    driver::device::get(ordinal).map_err(|error| unavailable(&error))
}

pub(super) fn unavailable(error: &DriverError) -> Error {
    use sys::CUresult::*;
    let (problem, remedy) = match error.0 {
        CUDA_ERROR_NO_DEVICE => (
            "the NVIDIA driver finds no GPU".to_owned(),
            "check `nvidia-smi` and CUDA_VISIBLE_DEVICES (start a container with the GPU: docker run \
             --gpus all), or use Device::Cpu",
        ),
        CUDA_ERROR_INVALID_DEVICE => (
            "there is no GPU of that number".to_owned(),
            "count GPUs from 0, as `nvidia-smi` lists them",
        ),
        CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => (
            "the NVIDIA driver's library and kernel module are of different versions".to_owned(),
            "restart the machine after a driver update, or use Device::Cpu",
        ),
        _ => (
            format!("the NVIDIA driver fails: {}", message(error)),
            "check the driver with `nvidia-smi`, or use Device::Cpu",
        ),
    };
    Error::unavailable("CUDA", problem, remedy)
}

/// The name and description of a driver's error.
pub(super) fn message(error: &DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    format!("{:?}, {}", error.0, text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_driver_is_rejected_with_both_versions() {
        let Ok(compiler) = Compiler::open() else { panic!("run `cargo xtask setup`") };
        let error = Driver { version: 12040 }.check(&compiler).unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }));
        let message = error.to_string();
        for expected in ["12.4", "13.0", "580"] {
            assert!(message.contains(expected), "{message}");
        }
        Driver { version: 13000 }.check(&compiler).unwrap();
        Driver { version: 14010 }.check(&compiler).unwrap();
    }
}
