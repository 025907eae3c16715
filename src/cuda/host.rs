//! The kernels' own source on the CPU: compiled by the C++ compiler through `kernels/host/`, loaded,
//! and launched as a card would be.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use libloading::Library;

use super::{Argument, Geometry, Kernel, Launch};
use crate::Result;

thread_local! {
    static STANDS_IN: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread's work on the CPU takes the way of a GPU's.
pub fn stands_in() -> bool {
    STANDS_IN.get()
}

/// Does some work on the CPU as on a GPU: the same operations, launched on the host shim.
pub fn as_on_a_gpu<T>(work: impl FnOnce() -> T) -> T {
    STANDS_IN.set(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    STANDS_IN.set(false);
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What a kernel does to a place in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Access {
    Read,
    Written,
}

/// Threads run one after another, on the thread that launches; those of kernels whose threads wait for
/// each other change places at every barrier.
pub struct Host {
    launch: LaunchFn,
    count: CountFn,
    places: PlacesFn,
}

// As kernels/host/launch.cpp has them.
type LaunchFn = unsafe extern "C" fn(*const c_char, u32, u32, *mut *mut c_void) -> bool;
type CountFn = unsafe extern "C" fn(*const c_void, bool) -> u32;
type PlacesFn = unsafe extern "C" fn(bool) -> usize;

impl Host {
    /// Compiled once a process.
    pub fn get() -> Arc<Self> {
        static HOST: OnceLock<Arc<Host>> = OnceLock::new();
        HOST.get_or_init(|| Arc::new(Self::compile())).clone()
    }

    fn compile() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libkernels_on_host.so");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let mut words = compiler.split_whitespace();
        let output = Command::new(words.next().unwrap())
            .args(words)
            .args([
                "-std=c++20",
                "-pthread",
                "-O2",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wno-unknown-pragmas",
            ])
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/host/launch.cpp"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // SAFETY: our own code, without constructors that do anything; the types are those above, and
        // the library is never closed.
        unsafe {
            let library = Box::leak(Box::new(Library::new(&library).unwrap()));
            Self {
                launch: *library.get::<LaunchFn>("qrnn_host_launch").unwrap(),
                count: *library.get::<CountFn>("qrnn_host_count").unwrap(),
                places: *library.get::<PlacesFn>("qrnn_host_places").unwrap(),
            }
        }
    }

    /// How often the last launch on this thread did this to the place.
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

impl Launch for Host {
    unsafe fn launch(
        &self,
        kernel: Kernel,
        geometry: Geometry,
        arguments: &mut [Argument],
    ) -> Result<()> {
        let name = CString::new(kernel.name).unwrap();
        let mut places = Argument::places(arguments);
        // SAFETY: by this function's contract.
        let known = unsafe {
            (self.launch)(name.as_ptr(), geometry.grid, geometry.block, places.as_mut_ptr())
        };
        assert!(known, "kernels/host/launch.cpp does not know {}", kernel.name);
        Ok(())
    }
}
