//! Compiles kernels with NVRTC. No GPU is needed.

use std::ffi::{CString, c_char, c_int};
use std::ptr;

use cudarc::nvrtc::result::{self as nvrtc, NvrtcError};
use cudarc::nvrtc::sys;

use super::launch::Source;
use super::libraries;
use crate::{Error, Result};

/// Compiler options of every kernel. Approximate division and flushing subnormals cost an ulp and save half
/// of the instructions of a gate.
const OPTIONS: [&str; 4] =
    ["--std=c++17", "--device-as-default-execution-space", "--ftz=true", "--prec-div=false"];

/// The oldest architecture that NVRTC 13 supports: Turing.
const OLDEST: i32 = 75;

/// NVRTC, loaded.
#[derive(Debug, Clone)]
pub struct Compiler {
    /// Major and minor version.
    version: (i32, i32),
    /// Supported architectures, 90 for sm_90, ascending.
    architectures: Vec<i32>,
}

/// The target of a compilation; 90 stands for compute capability 9.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// Machine code of this architecture.
    Machine(i32),
    /// PTX for a GPU that is newer than the compiler; the driver compiles it further.
    Virtual(i32),
}

impl Target {
    /// The value of NVRTC's `--gpu-architecture`.
    pub fn name(self) -> String {
        match self {
            Self::Machine(architecture) => format!("sm_{architecture}"),
            Self::Virtual(architecture) => format!("compute_{architecture}"),
        }
    }
}

impl Compiler {
    /// Loads NVRTC.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it is not found.
    pub fn open() -> Result<Self> {
        libraries::nvrtc()?;
        let refused = |error: NvrtcError| {
            Error::unavailable(
                "CUDA",
                format!("NVRTC fails: {:?}", error.0),
                "run `cargo xtask setup --cuda`, or install nvidia-cuda-nvrtc 13.0",
            )
        };
        // SAFETY: looks up the library that was loaded above.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::unavailable(
                "CUDA",
                "NVRTC was loaded, but is not found by its name",
                "add the folder of libnvrtc.so.13 to LD_LIBRARY_PATH",
            ));
        }
        let (mut major, mut minor, mut count): (c_int, c_int, c_int) = (0, 0, 0);
        // SAFETY: each call writes one int; the last writes `count` ints.
        let architectures = unsafe {
            sys::nvrtcVersion(&mut major, &mut minor).result().map_err(refused)?;
            sys::nvrtcGetNumSupportedArchs(&mut count).result().map_err(refused)?;
            let mut architectures = vec![0; usize::try_from(count).unwrap_or(0)];
            sys::nvrtcGetSupportedArchs(architectures.as_mut_ptr()).result().map_err(refused)?;
            architectures.sort_unstable();
            architectures
        };
        Ok(Self { version: (major, minor), architectures })
    }

    /// Major and minor version.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// The target for a GPU of this compute capability (major and minor).
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the GPU is too old.
    pub fn target(&self, (major, minor): (i32, i32)) -> Result<Target> {
        let architecture = 10 * major + minor;
        let newest = self.architectures.iter().copied().max().unwrap_or(OLDEST);
        match architecture {
            _ if self.architectures.contains(&architecture) => Ok(Target::Machine(architecture)),
            _ if architecture > newest => Ok(Target::Virtual(newest)),
            // Code for 8.6 runs on an 8.7 that the compiler does not support.
            _ => match self.architectures.iter().rev().find(|known| {
                architecture >= OLDEST && **known / 10 == major && **known < architecture
            }) {
                Some(known) => Ok(Target::Machine(*known)),
                None => Err(Error::unavailable(
                    "CUDA",
                    format!(
                        "the GPU has compute capability {major}.{minor}, and NVRTC {}.{} compiles \
                         for {}.{} and newer",
                        self.version.0,
                        self.version.1,
                        OLDEST / 10,
                        OLDEST % 10
                    ),
                    "use Device::Cpu, or a GPU of the Turing generation (2018) or newer",
                )),
            },
        }
    }

    /// All that an image depends on except the source and the driver.
    pub fn settings(&self, target: Target) -> String {
        let (major, minor) = self.version;
        format!("NVRTC {major}.{minor} {} {}", target.name(), OPTIONS.join(" "))
    }

    /// Compiles a source. Returns the image, which the driver loads, and the compiler's log.
    ///
    /// # Errors
    /// [`Error::Cuda`] with the compiler's log.
    pub fn compile(
        &self,
        source: &Source,
        target: Target,
        more_options: &[&str],
    ) -> Result<(Vec<u8>, String)> {
        let architecture = format!("--gpu-architecture={}", target.name());
        let options: Vec<&str> =
            OPTIONS.iter().chain(more_options).copied().chain([architecture.as_str()]).collect();
        let program = Program::of(source)?;
        // SAFETY: a live program.
        let compiled = unsafe { nvrtc::compile_program(program.handle, &options) };
        let log = program.log();
        match compiled {
            Ok(()) => Ok((program.image(target).map_err(|error| refused(source, &error))?, log)),
            Err(error) => Err(Error::Cuda {
                what: format!("NVRTC cannot compile {} for {}", source.name, target.name()),
                problem: if log.is_empty() { format!("{:?}", error.0) } else { log },
                remedy: "report this".into(),
            }),
        }
    }
}

fn refused(source: &Source, error: &NvrtcError) -> Error {
    Error::Cuda {
        what: format!("NVRTC fails on {}", source.name),
        problem: format!("{:?}", error.0),
        remedy: "report this".into(),
    }
}

/// An NVRTC program, destroyed when dropped.
struct Program {
    handle: sys::nvrtcProgram,
}

impl Program {
    fn of(source: &Source) -> Result<Self> {
        let c = |text: &str| {
            CString::new(text).map_err(|_| Error::Cuda {
                what: source.name.into(),
                problem: "its source contains a zero byte".into(),
                remedy: "report this".into(),
            })
        };
        let (text, name) = (c(source.text)?, c(source.name)?);
        let headers: Vec<_> = source
            .headers
            .iter()
            .map(|(name, text)| Ok((c(name)?, c(text)?)))
            .collect::<Result<_>>()?;
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
        let texts: Vec<_> = headers.iter().map(|(_, text)| text.as_ptr()).collect();
        let mut handle = ptr::null_mut();
        // SAFETY: all strings end with a zero and live during the call, which copies them; both arrays
        // have `headers.len()` entries.
        unsafe {
            sys::nvrtcCreateProgram(
                &mut handle,
                text.as_ptr(),
                name.as_ptr(),
                headers.len() as c_int,
                texts.as_ptr(),
                names.as_ptr(),
            )
            .result()
            .map_err(|error| refused(source, &error))?;
        }
        Ok(Self { handle })
    }

    /// The compiler's log, without the terminating zero.
    fn log(&self) -> String {
        // SAFETY: a live program.
        let log = unsafe { nvrtc::get_program_log(self.handle) }.unwrap_or_default();
        let bytes: Vec<u8> = log.into_iter().map(|byte| byte as u8).collect();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').trim_end().to_owned()
    }

    fn image(&self, target: Target) -> Result<Vec<u8>, NvrtcError> {
        type Size = unsafe fn(sys::nvrtcProgram, *mut usize) -> sys::nvrtcResult;
        type Get = unsafe fn(sys::nvrtcProgram, *mut c_char) -> sys::nvrtcResult;
        let (size, get): (Size, Get) = match target {
            Target::Machine(_) => (sys::nvrtcGetCUBINSize, sys::nvrtcGetCUBIN),
            Target::Virtual(_) => (sys::nvrtcGetPTXSize, sys::nvrtcGetPTX),
        };
        let mut bytes = 0;
        // SAFETY: a live program, and a buffer of the size that NVRTC returns.
        unsafe {
            size(self.handle, &mut bytes).result()?;
            let mut image = vec![0u8; bytes];
            get(self.handle, image.as_mut_ptr().cast()).result()?;
            Ok(image)
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: created in `of`, destroyed once.
        let _ = unsafe { nvrtc::destroy_program(self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gpu_gets_a_target_that_it_runs() {
        let compiler = Compiler { version: (13, 0), architectures: vec![75, 80, 86, 90, 120] };
        for (capability, target) in [
            ((7, 5), Target::Machine(75)),
            ((8, 9), Target::Machine(86)),
            ((9, 0), Target::Machine(90)),
            ((12, 1), Target::Virtual(120)),
        ] {
            assert_eq!(compiler.target(capability).unwrap(), target);
        }
        for (major, minor) in [(7, 0), (3, 5), (10, 0)] {
            let error = compiler.target((major, minor)).unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }));
            assert!(error.to_string().contains(&format!("{major}.{minor}")), "{error}");
        }
    }

    #[test]
    fn an_invalid_kernel_is_rejected_with_the_compilers_log() {
        let compiler = Compiler::open().unwrap();
        let invalid = Source {
            name: "broken.cu",
            text: "#include \"h.cuh\"\nextern \"C\" __global__ void k(float* x) { *x = undefined; }",
            headers: &[("h.cuh", "")],
        };
        let error = compiler.compile(&invalid, Target::Machine(90), &[]).unwrap_err().to_string();
        assert!(error.contains("broken.cu(2)") && error.contains("undefined"), "{error}");
    }
}
