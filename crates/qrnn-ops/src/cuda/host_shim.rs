//! The kernels' own source on the CPU: compiled by the C++ compiler through `kernels/host/`, loaded,
//! and launched as a card would be.

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

/// Whether this thread's work on the CPU takes the way of a GPU's.
pub fn is_active() -> bool {
    ACTIVE.get()
}

/// Does some work on the CPU as on a GPU: the same operations, launched on the host shim.
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

/// What a kernel does to a place in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Access {
    Read,
    Written,
}

/// Threads run one after another, on the thread that launches; those of kernels whose threads wait for
/// each other change places at every barrier.
pub struct HostShim {
    launch: LaunchFn,
    count: CountFn,
    places: PlacesFn,
}

// As kernels/host/launch.cpp has them.
type LaunchFn = unsafe extern "C" fn(*const c_char, u32, u32, *mut *mut c_void) -> bool;
type CountFn = unsafe extern "C" fn(*const c_void, bool) -> u32;
type PlacesFn = unsafe extern "C" fn(bool) -> usize;

impl HostShim {
    /// The shim, compiled once a process.
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
        let mut words = compiler.split_whitespace();
        let output = Command::new(words.next().unwrap_or("c++"))
            .args(words)
            .args(["-std=c++20", "-pthread", "-O2", "-Wall", "-Wextra", "-Werror"])
            .args(["-Wno-unknown-pragmas", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .output()
            .map_err(|error| unavailable(format!("{compiler} cannot be run: {error}")))?;
        if !output.status.success() {
            return Err(unavailable(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        // SAFETY: our own code, whose constructors do nothing; the types are those above, and the library
        // is never closed.
        unsafe {
            let library = Library::new(&library).map_err(|error| unavailable(error.to_string()))?;
            let library = Box::leak(Box::new(library));
            let missing = |error: libloading::Error| unavailable(error.to_string());
            Ok(Self {
                launch: *library.get::<LaunchFn>("qrnn_host_launch").map_err(missing)?,
                count: *library.get::<CountFn>("qrnn_host_count").map_err(missing)?,
                places: *library.get::<PlacesFn>("qrnn_host_places").map_err(missing)?,
            })
        }
    }

    /// How often the last launch on this thread did this to the place.
    #[expect(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "the address is compared, not dereferenced"
    )]
    pub fn count(&self, at: *const c_void, access: Access) -> u32 {
        // SAFETY: compares the address with others; it is not followed.
        unsafe { (self.count)(at, access == Access::Written) }
    }

    /// To how many places the last launch on this thread did this.
    pub fn places(&self, access: Access) -> usize {
        // SAFETY: reads a number.
        unsafe { (self.places)(access == Access::Written) }
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
        let mut places = Argument::places(arguments);
        // SAFETY: by this function's contract.
        let known = unsafe {
            (self.launch)(name.as_ptr(), geometry.grid, geometry.block, places.as_mut_ptr())
        };
        if known { Ok(()) } else { Err(unknown()) }
    }
}
