//! The kernels' own source on the CPU: compiled by the C++ compiler through `kernels/host/`, loaded,
//! and launched as a card would be.

use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use libloading::Library;

use super::{Argument, Geometry, Kernel, Launch};
use crate::Result;

/// Threads run one after another on the thread that launches; those of kernels whose threads wait for
/// each other run side by side.
pub struct Host {
    library: Library,
}

type LaunchFn = unsafe extern "C" fn(*const c_char, u32, u32, *mut *mut c_void) -> bool;

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
        // SAFETY: our own code, without constructors that do anything.
        Self { library: unsafe { Library::new(&library) }.unwrap() }
    }

    /// How often the last launch on this thread wrote the place.
    pub fn stores(&self, at: *const c_void) -> u32 {
        // SAFETY: the function's type is that of kernels/host/launch.cpp.
        unsafe {
            let stores =
                self.library.get::<unsafe extern "C" fn(*const c_void) -> u32>("qrnn_host_stores");
            stores.unwrap()(at)
        }
    }

    /// How many places the last launch on this thread wrote.
    pub fn places(&self) -> usize {
        // SAFETY: as above.
        unsafe {
            self.library.get::<unsafe extern "C" fn() -> usize>("qrnn_host_places").unwrap()()
        }
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
        // SAFETY: the function's type is that of kernels/host/launch.cpp; the rest is the contract.
        let known = unsafe {
            let launch = self.library.get::<LaunchFn>("qrnn_host_launch").unwrap();
            launch(name.as_ptr(), geometry.grid, geometry.block, places.as_mut_ptr())
        };
        assert!(known, "kernels/host/launch.cpp does not know {}", kernel.name);
        Ok(())
    }
}
