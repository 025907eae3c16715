//! A CUDA device: the kernels loaded on it, and their launches.

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
    fn qrnn_current_cuda_stream(card: i8, stream: *mut *mut c_void) -> *mut c_char;
    fn qrnn_peak_cuda_memory(card: i8, forget: bool, bytes: *mut i64) -> *mut c_char;
    #[cfg(test)]
    fn qrnn_use_another_cuda_stream(card: i8, before: *mut i64) -> *mut c_char;
    #[cfg(test)]
    fn qrnn_use_cuda_stream(card: i8, stream: i64) -> *mut c_char;
}

/// A card that kernels can be launched on.
#[derive(Debug)]
pub struct CudaDevice {
    ordinal: i8,
    /// The context that libtorch works in, too.
    context: sys::CUcontext,
    compiler: Compiler,
    target: Target,
    /// The driver's version, of which a compiled image may depend.
    driver: i32,
    modules: Mutex<HashMap<&'static str, Module>>,
}

/// A loaded source, and its kernels that were looked up. Never unloaded: kernels may be under way.
#[derive(Debug)]
struct Module {
    handle: sys::CUmodule,
    functions: HashMap<&'static str, sys::CUfunction>,
}

// SAFETY: the driver's handles are good on all threads of a process.
unsafe impl Send for CudaDevice {}
// SAFETY: as above; what changes is behind a lock.
unsafe impl Sync for CudaDevice {}

impl CudaDevice {
    /// The card of this number, as [`tch::Device::Cuda`] counts them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] as for [`crate::device::cuda`].
    pub fn of(ordinal: usize) -> Result<Arc<Self>> {
        // A notebook may hold this twice: each then loads its own modules, which does no harm.
        static DEVICES: OnceLock<Mutex<HashMap<usize, Arc<CudaDevice>>>> = OnceLock::new();
        let mut cards =
            DEVICES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(card) = cards.get(&ordinal) {
            return Ok(card.clone());
        }
        let card = Arc::new(Self::open(ordinal)?);
        cards.insert(ordinal, card.clone());
        Ok(card)
    }

    fn open(ordinal: usize) -> Result<Self> {
        let driver = Driver::open()?;
        let compiler = Compiler::open()?;
        driver.check(&compiler)?;
        let target = compiler.target(driver.capability(ordinal)?)?;
        // SAFETY: the device is the driver's. The context is libtorch's own, never given back.
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
        let module = modules.get_mut(source.name).ok_or_else(|| refused(kernel, "it is gone"))?;
        if let Some(function) = module.functions.get(kernel.name) {
            return Ok(*function);
        }
        let name = CString::new(kernel.name).map_err(|error| refused(kernel, error))?;
        // SAFETY: the module is loaded, and never unloaded.
        let function = unsafe { driver::module::get_function(module.handle, name) }
            .map_err(|error| refused(kernel, message(&error)))?;
        module.functions.insert(kernel.name, function);
        Ok(function)
    }

    /// The source's image, compiled or kept, on the card.
    fn load(&self, source: &Source) -> Result<sys::CUmodule> {
        let settings = format!("{} driver {}", self.compiler.settings(self.target), self.driver);
        let folder = user_cache::folder().map(|folder| folder.join("kernels"));
        let mut image = image_cache::image(folder.as_deref(), source, &settings, || {
            Ok(self.compiler.compile(source, self.target, &[])?.0)
        })?;
        // PTX must end with a zero; machine code does not mind one.
        image.push(0);
        // SAFETY: what NVRTC made, whole by its sum.
        unsafe { driver::module::load_data(image.as_ptr().cast()) }.map_err(|error| Error::Cuda {
            what: format!("{} cannot be loaded", source.name),
            problem: message(&error),
            remedy: "update the NVIDIA driver; if it stays, report this".into(),
        })
    }

    /// What its maker calls it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the driver does not tell.
    pub fn name(&self) -> Result<String> {
        driver::device::get_name(device(self.ordinal as usize)?)
            .map_err(|error| unavailable(&error))
    }

    /// The most memory that libtorch's tensors took on this card at once since the last call that
    /// said to forget, in bytes. What they take now counts from then on.
    ///
    /// # Errors
    /// [`Error::Torch`] where libtorch does not tell.
    pub fn peak_bytes(&self, forget: bool) -> Result<u64> {
        let mut bytes = 0;
        // SAFETY: writes one number; the answer is a message made by malloc.
        unsafe { check(qrnn_peak_cuda_memory(self.ordinal, forget, &mut bytes))? };
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// Does some work on a stream of libtorch's pool, which does not wait for the default stream.
    #[cfg(test)]
    pub fn on_another_stream<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let mut before = 0;
        // SAFETY: writes one number; the answers are messages made by malloc.
        unsafe { check(qrnn_use_another_cuda_stream(self.ordinal, &mut before))? };
        let done = work();
        // SAFETY: a stream of this card's that libtorch named.
        unsafe { check(qrnn_use_cuda_stream(self.ordinal, before))? };
        Ok(done)
    }

    /// The context that libtorch works in.
    pub(super) fn context(&self) -> sys::CUcontext {
        self.context
    }

    /// The stream that libtorch puts this thread's work on.
    pub(super) fn stream(&self) -> Result<sys::CUstream> {
        let mut stream = ptr::null_mut();
        // SAFETY: writes one pointer; the answer is a message made by malloc.
        unsafe { check(qrnn_current_cuda_stream(self.ordinal, &mut stream))? };
        Ok(stream.cast())
    }
}

fn refused(kernel: Kernel, problem: impl ToString) -> Error {
    Error::Cuda {
        what: format!("the kernel {} cannot be launched", kernel.name),
        problem: problem.to_string(),
        remedy: "if memory ran out, lower --batch-size or --bptt; else run it again with \
                 CUDA_LAUNCH_BLOCKING=1, which tells where it began, and report this"
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
        let mut places = Argument::places(arguments);
        let (grid, block) = ((geometry.grid, 1, 1), (geometry.block, 1, 1));
        // SAFETY: the function belongs to this context, the stream too; the rest is the contract.
        unsafe { driver::launch_kernel(function, grid, block, 0, stream, &mut places) }
            .map_err(|error| refused(kernel, message(&error)))
    }
}

/// A context made this thread's, until it is dropped: a thread of autograd's may have another. One
/// that had none keeps it: libtorch warns where a thread's next call is a product and finds none.
pub(super) struct Current {
    before: Option<sys::CUcontext>,
    changed: bool,
}

impl Current {
    pub(super) fn of(context: sys::CUcontext) -> Result<Self, DriverError> {
        let before = driver::ctx::get_current()?;
        let changed = before != Some(context);
        if changed {
            // SAFETY: a retained context.
            unsafe { driver::ctx::set_current(context)? };
        }
        Ok(Self { before, changed })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        if let Some(before) = self.before.filter(|_| self.changed) {
            // SAFETY: the context that was this thread's.
            let _ = unsafe { driver::ctx::set_current(before) };
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::fo_pool::FoPoolOptions;
    use crate::libtorch::download;

    /// Work on a stream that is not the default one takes its place in that stream: each kernel reads
    /// what the one before it, which is kept waiting, has yet to write.
    #[test]
    #[ignore = "wants a GPU"]
    fn on_a_card_work_takes_its_place_in_the_current_stream() {
        let device = crate::device::cuda().unwrap();
        let card = CudaDevice::of(0).unwrap();
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
        let default = card.stream().unwrap();
        let (other, results) =
            card.on_another_stream(|| (card.stream().unwrap(), run(device, true))).unwrap();
        assert_ne!(default, other);
        assert_eq!(default, card.stream().unwrap());
        for (ours, theirs) in results.iter().flatten().zip(expected.iter().flatten()) {
            assert!((ours - theirs).abs() < 1e-4 * (1.0 + theirs.abs()), "{ours} and {theirs}");
        }
    }
}
