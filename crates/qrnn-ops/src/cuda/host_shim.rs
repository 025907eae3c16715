//! Runs the CUDA kernels on the CPU, for tests: compiles their source with the C++ compiler through
//! `kernels/host/`, loads the library and launches its functions.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use libloading::Library;

use super::launch::{Argument, Geometry, Kernel, Launch};
use crate::{Error, Result};

thread_local! {
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs the GPU code path on CPU tensors.
pub fn is_active() -> bool {
    ACTIVE.get()
}

/// Runs `work` with the GPU code path on CPU tensors: kernels are launched on the host shim.
pub fn as_on_a_gpu<T>(work: impl FnOnce() -> T) -> T {
    ACTIVE.set(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    ACTIVE.set(false);
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn unavailable(problem: String) -> Error {
    Error::unavailable(
        "the host shim for CUDA kernels",
        problem,
        "install a C++20 compiler, and use a checkout of this repository",
    )
}

/// The back end of a test: the first GPU or the host shim, and the device of its tensors. Panics with the reason
/// where there is no GPU.
#[cfg(test)]
pub(crate) fn back_end(on_gpu: bool) -> (Arc<dyn Launch>, tch::Device) {
    if on_gpu {
        let device = crate::device::cuda().unwrap();
        (super::CudaDevice::of(0).unwrap(), device)
    } else {
        (HostShim::get().unwrap(), tch::Device::Cpu)
    }
}

/// A kind of memory access.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Access {
    Read,
    Written,
}

/// Launches kernels on the CPU. CUDA threads run one after another on the launching thread; kernels with
/// barriers switch threads at each barrier.
pub struct HostShim {
    launch: LaunchFn,
    count: CountFn,
    address_count: AddressCountFn,
}

// The functions of kernels/host/launch.cpp.
type LaunchFn = unsafe extern "C" fn(*const c_char, u32, u32, *mut *mut c_void) -> bool;
type CountFn = unsafe extern "C" fn(*const c_void, bool) -> u32;
type AddressCountFn = unsafe extern "C" fn(bool) -> usize;

impl HostShim {
    /// The shim, compiled once per process.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the C++ compiler (`$CXX` or `c++`) or the kernels' source is missing.
    pub fn get() -> Result<Arc<Self>> {
        static SHIM: Mutex<Option<Arc<HostShim>>> = Mutex::new(None);
        let mut shim = SHIM.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shim {
            Some(shim) => Ok(shim.clone()),
            None => Ok(shim.insert(Arc::new(Self::compile()?)).clone()),
        }
    }

    fn compile() -> Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/host/launch.cpp");
        let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write"))?;
        let library = folder.path().join("libkernels_on_host.so");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let mut command = compiler.split_whitespace();
        let output = Command::new(command.next().unwrap_or("c++"))
            .args(command)
            .args(["-std=c++20", "-pthread", "-O2", "-Wall", "-Wextra", "-Werror"])
            .args(["-Wno-unknown-pragmas", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .output()
            .map_err(|error| unavailable(format!("{compiler} cannot be run: {error}")))?;
        if !output.status.success() {
            return Err(unavailable(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        // SAFETY: our library has no constructors, its functions have the types above, and it is never
        // closed.
        unsafe {
            let library = Library::new(&library).map_err(|error| unavailable(error.to_string()))?;
            let library = Box::leak(Box::new(library));
            let missing = |error: libloading::Error| unavailable(error.to_string());
            Ok(Self {
                launch: *library.get::<LaunchFn>("qrnn_host_launch").map_err(missing)?,
                count: *library.get::<CountFn>("qrnn_host_count").map_err(missing)?,
                address_count: *library
                    .get::<AddressCountFn>("qrnn_host_places")
                    .map_err(missing)?,
            })
        }
    }

    /// How often the last launch on this thread accessed the address.
    #[expect(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "the address is compared, not dereferenced"
    )]
    pub fn count(&self, at: *const c_void, access: Access) -> u32 {
        // SAFETY: the address is compared, not dereferenced.
        unsafe { (self.count)(at, access == Access::Written) }
    }

    /// How many addresses the last launch on this thread accessed.
    pub fn address_count(&self, access: Access) -> usize {
        // SAFETY: reads a counter.
        unsafe { (self.address_count)(access == Access::Written) }
    }
}

impl Launch for HostShim {
    unsafe fn launch(
        &self,
        kernel: Kernel,
        geometry: Geometry,
        arguments: &mut [Argument],
    ) -> Result<()> {
        let unknown =
            || unavailable(format!("kernels/host/launch.cpp has no kernel {}", kernel.name));
        let name = CString::new(kernel.name).map_err(|_| unknown())?;
        let mut pointers = Argument::pointers(arguments);
        // SAFETY: by this function's contract.
        let known = unsafe {
            (self.launch)(name.as_ptr(), geometry.grid, geometry.block, pointers.as_mut_ptr())
        };
        if known { Ok(()) } else { Err(unknown()) }
    }
}
