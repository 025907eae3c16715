//! A CUDA device: loads kernels and launches them.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::result::{self as driver, DriverError};
use cudarc::driver::sys;

use super::compiler::{Compiler, Target};
use super::driver::{Driver, device, message, unavailable};
use super::image_cache;
use super::launch::{Argument, Geometry, Kernel, Launch, Source};
use crate::libtorch::shim::check;
use crate::{Error, Result, user_cache};

unsafe extern "C" {
    fn qrnn_current_cuda_stream(ordinal: i8, stream: *mut *mut c_void) -> *mut c_char;
    fn qrnn_peak_cuda_memory(ordinal: i8, reset: bool, bytes: *mut i64) -> *mut c_char;
    #[cfg(test)]
    fn qrnn_use_another_cuda_stream(ordinal: i8, previous: *mut i64) -> *mut c_char;
    #[cfg(test)]
    fn qrnn_use_cuda_stream(ordinal: i8, stream: i64) -> *mut c_char;
}

/// A GPU that launches kernels.
#[derive(Debug)]
pub struct CudaDevice {
    ordinal: i8,
    /// libtorch's context.
    context: sys::CUcontext,
    compiler: Compiler,
    target: Target,
    /// The driver's version; part of the key of a cached image.
    driver: i32,
    modules: Mutex<HashMap<&'static str, Module>>,
}

/// A loaded source and its kernels that were looked up. Never unloaded: kernels may still run.
#[derive(Debug)]
struct Module {
    handle: sys::CUmodule,
    functions: HashMap<&'static str, sys::CUfunction>,
}

// SAFETY: the driver's handles are valid on all threads of a process.
unsafe impl Send for CudaDevice {}
// SAFETY: as above; mutable state is behind a lock.
unsafe impl Sync for CudaDevice {}

impl CudaDevice {
    /// The GPU of this ordinal, as in [`tch::Device::Cuda`]; opened once per process.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no such GPU, or it cannot be used.
    pub fn of(ordinal: usize) -> Result<Arc<Self>> {
        // A notebook may hold this library twice; each copy then loads its own modules.
        static DEVICES: OnceLock<Mutex<HashMap<usize, Arc<CudaDevice>>>> = OnceLock::new();
        let mut devices =
            DEVICES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = devices.get(&ordinal) {
            return Ok(device.clone());
        }
        let device = Arc::new(Self::open(ordinal)?);
        devices.insert(ordinal, device.clone());
        Ok(device)
    }

    fn open(ordinal: usize) -> Result<Self> {
        let driver = Driver::open()?;
        let compiler = Compiler::open()?;
        driver.check(&compiler)?;
        let target = compiler.target(driver.capability(ordinal)?)?;
        // SAFETY: a device of the driver. The context is libtorch's, and is never released.
        let context = unsafe { driver::primary_ctx::retain(device(ordinal)?) };
        Ok(Self {
            ordinal: ordinal as i8,
            context: context.map_err(|error| unavailable(&error))?,
            compiler,
            target,
            driver: driver.version,
            modules: Mutex::default(),
        })
    }

    fn function(&self, kernel: Kernel) -> Result<sys::CUfunction> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let source = kernel.source;
        if !modules.contains_key(source.name) {
            let handle = self.load(source)?;
            modules.insert(source.name, Module { handle, functions: HashMap::new() });
        }
        let module = modules
            .get_mut(source.name)
            .ok_or_else(|| refused(kernel, "its module was not loaded"))?;
        if let Some(function) = module.functions.get(kernel.name) {
            return Ok(*function);
        }
        let name = CString::new(kernel.name).map_err(|error| refused(kernel, error))?;
        // SAFETY: a loaded module, which is never unloaded.
        let function = unsafe { driver::module::get_function(module.handle, name) }
            .map_err(|error| refused(kernel, message(&error)))?;
        module.functions.insert(kernel.name, function);
        Ok(function)
    }

    /// Loads the source's image, compiled or from the cache.
    fn load(&self, source: &Source) -> Result<sys::CUmodule> {
        let settings = format!("{} driver {}", self.compiler.settings(self.target), self.driver);
        let folder = user_cache::folder().map(|folder| folder.join("kernels"));
        let mut image = image_cache::image(folder.as_deref(), source, &settings, || {
            Ok(self.compiler.compile(source, self.target, &[])?.0)
        })?;
        // PTX must end with a zero; machine code does not mind one.
        image.push(0);
        // SAFETY: an image of NVRTC; the cache verifies its checksum.
        unsafe { driver::module::load_data(image.as_ptr().cast()) }.map_err(|error| Error::Cuda {
            what: format!("{} cannot be loaded", source.name),
            problem: message(&error),
            remedy: "update the NVIDIA driver; if it happens again, report this".into(),
        })
    }

    /// The model name, "NVIDIA H100 80GB HBM3" for example.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the driver fails.
    pub fn name(&self) -> Result<String> {
        driver::device::get_name(device(self.ordinal as usize)?)
            .map_err(|error| unavailable(&error))
    }

    /// Peak memory of libtorch's tensors on this GPU, in bytes, since the last call with `reset`
    /// (`torch.cuda.max_memory_allocated`, `reset_peak_memory_stats`).
    ///
    /// # Errors
    /// [`Error::Torch`] if libtorch fails.
    pub fn peak_bytes(&self, reset: bool) -> Result<u64> {
        let mut bytes = 0;
        // SAFETY: writes one number; returns a message allocated by malloc.
        unsafe { check(qrnn_peak_cuda_memory(self.ordinal, reset, &mut bytes))? };
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Runs `work` on a stream of libtorch's pool, which does not wait for the default stream.
    #[cfg(test)]
    pub fn on_another_stream<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let mut previous = 0;
        // SAFETY: writes one number; returns a message allocated by malloc.
        unsafe { check(qrnn_use_another_cuda_stream(self.ordinal, &mut previous))? };
        let result = work();
        // SAFETY: the stream of this GPU that was current before.
        unsafe { check(qrnn_use_cuda_stream(self.ordinal, previous))? };
        Ok(result)
    }

    /// libtorch's context.
    pub(super) fn context(&self) -> sys::CUcontext {
        self.context
    }

    /// libtorch's current stream of this thread.
    pub(super) fn stream(&self) -> Result<sys::CUstream> {
        let mut stream = ptr::null_mut();
        // SAFETY: writes one pointer; returns a message allocated by malloc.
        unsafe { check(qrnn_current_cuda_stream(self.ordinal, &mut stream))? };
        Ok(stream.cast())
    }
}

fn refused(kernel: Kernel, problem: impl ToString) -> Error {
    Error::Cuda {
        what: format!("the kernel {} cannot be launched", kernel.name),
        problem: problem.to_string(),
        remedy: "if memory ran out, lower the batch size or sequence length; otherwise run it again with \
                 CUDA_LAUNCH_BLOCKING=1, which shows the first failing kernel, and report this"
            .into(),
    }
}

impl Launch for CudaDevice {
    unsafe fn launch(
        &self,
        kernel: Kernel,
        geometry: Geometry,
        arguments: &mut [Argument],
    ) -> Result<()> {
        let stream = self.stream()?;
        let _current =
            Current::of(self.context).map_err(|error| refused(kernel, message(&error)))?;
        let function = self.function(kernel)?;
        let mut pointers = Argument::pointers(arguments);
        let (grid, block) = ((geometry.grid, 1, 1), (geometry.block, 1, 1));
        // SAFETY: function and stream belong to this context; arguments by this function's contract.
        unsafe { driver::launch_kernel(function, grid, block, 0, stream, &mut pointers) }
            .map_err(|error| refused(kernel, message(&error)))
    }
}

/// Makes a context current on this thread until dropped: autograd's threads may have another. A thread
/// without a context keeps it, because libtorch warns if a matmul finds none.
pub(super) struct Current {
    previous: Option<sys::CUcontext>,
    changed: bool,
}

impl Current {
    pub(super) fn of(context: sys::CUcontext) -> Result<Self, DriverError> {
        let previous = driver::ctx::get_current()?;
        let changed = previous != Some(context);
        if changed {
            // SAFETY: a retained context.
            unsafe { driver::ctx::set_current(context)? };
        }
        Ok(Self { previous, changed })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        if let Some(previous) = self.previous.filter(|_| self.changed) {
            // SAFETY: the context that was current before.
            let _ = unsafe { driver::ctx::set_current(previous) };
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::fo_pool::FoPoolOptions;
    use crate::libtorch::download;

    /// On a busy stream other than the default one, each kernel must run after the one whose output it
    /// reads.
    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_kernels_run_on_the_current_stream() {
        let device = crate::device::cuda().unwrap();
        let cuda = CudaDevice::of(0).unwrap();
        let run = |device: Device, busy: bool| {
            let float = (Kind::Float, device);
            if busy {
                let matrix = Tensor::ones([8192, 8192], float);
                (0..20).for_each(|_| drop(matrix.mm(&matrix)));
            }
            let gates = Tensor::arange(60 * 7 * 150, float).sin().view([60, 7, 150]);
            let gates = gates.set_requires_grad(true);
            let state = Tensor::zeros([7, 50], float);
            let pooled = crate::fo_pool::fo_pool(&gates, &state, FoPoolOptions::default()).unwrap();
            let score = (pooled.output * 3.0).square().sum(Kind::Float);
            let grads = Tensor::run_backward(&[&score], &[&gates], false, false);
            [download(&pooled.state).unwrap(), download(&grads[0]).unwrap()]
        };
        let expected = run(Device::Cpu, false);
        let default = cuda.stream().unwrap();
        let (other, results) =
            cuda.on_another_stream(|| (cuda.stream().unwrap(), run(device, true))).unwrap();
        assert_ne!(default, other);
        assert_eq!(default, cuda.stream().unwrap());
        for (ours, expected) in results.iter().flatten().zip(expected.iter().flatten()) {
            assert!(
                (ours - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                "{ours} and {expected}"
            );
        }
    }
}
