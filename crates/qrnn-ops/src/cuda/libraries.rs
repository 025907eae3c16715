//! Finds and loads the shared libraries of CUDA.
//!
//! libtorch decides once, at the first operation, whether CUDA is available. So its CUDA library is loaded
//! before `main` if there is a driver: [`tch::Device::cuda_if_available`] is then right everywhere, also in
//! a notebook. Loading takes a few tenths of a second; `QRNN_CUDA=off` prevents it.

use std::path::PathBuf;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::{Error, Result};

/// The environment variable that disables CUDA if set to `off`.
pub const SWITCH: &str = "QRNN_CUDA";

/// What to do if a library is missing.
const INSTALL: &str = "run `cargo xtask setup --cuda`, or add the `lib` folder of a Python torch 2.11.0 \
                       and its `nvidia/*/lib` folders to LD_LIBRARY_PATH; or use Device::Cpu";

// SAFETY: the loader calls the functions in .init_array without arguments. This one runs before `main`,
// after the constructors of libtorch's CPU library, which this crate links; it only opens files and
// libraries, and never panics.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = at_start;

extern "C" fn at_start() {
    if driver().is_ok() {
        // A later request for CUDA reports the error.
        let _ = libtorch_cuda();
    }
}

/// Loads the NVIDIA driver's library.
///
/// # Errors
/// [`Error::Unavailable`] if there is none, or [`SWITCH`] disables CUDA.
pub fn driver() -> Result<()> {
    if std::env::var_os(SWITCH).is_some_and(|value| value == "off") {
        return Err(Error::unavailable(
            "CUDA",
            format!("it is switched off: {SWITCH}=off"),
            format!("unset {SWITCH}, or use Device::Cpu"),
        ));
    }
    open("libcuda.so.1".as_ref()).map_err(|error| {
        Error::unavailable(
            "CUDA",
            format!("this machine has no NVIDIA driver ({error})"),
            "use Device::Cpu, or a machine whose NVIDIA driver is 580 or later and where `nvidia-smi` lists \
             the GPU (start a container with it: docker run --gpus all)",
        )
    })
}

/// Loads libtorch's CUDA library with global symbols. Repeated calls do nothing.
///
/// # Errors
/// [`Error::Unavailable`] with the paths that were tried.
pub fn libtorch_cuda() -> Result<()> {
    let same_folder = libtorch_folder().map(|folder| folder.join("libtorch_cuda.so"));
    let installed = libtorch_root().map(|root| root.join("cuda/torch/lib/libtorch_cuda.so"));
    let paths = [same_folder, installed, Some("libtorch_cuda.so".into())];
    load_first("libtorch's CUDA part", paths.into_iter().flatten())
}

/// Loads NVRTC and its library of built-in functions, which NVRTC does not find by itself.
///
/// # Errors
/// [`Error::Unavailable`] with the paths that were tried.
pub fn nvrtc() -> Result<()> {
    let root = libtorch_root();
    // The layout of Python's site-packages, of `setup --cuda`, and of `setup`.
    let roots =
        ["", "cuda", "nvrtc"].into_iter().filter_map(|name| Some(root.as_ref()?.join(name)));
    let folders = roots.map(|root| root.join("nvidia/cu13/lib")).chain([PathBuf::new()]);
    load_first(
        "NVRTC, the compiler of CUDA kernels,",
        folders.map(|folder| {
            let _ = open(&folder.join("libnvrtc-builtins.so.13.0"));
            folder.join("libnvrtc.so.13")
        }),
    )
}

/// Loads the first of these libraries that can be loaded.
fn load_first(what: &str, paths: impl Iterator<Item = PathBuf>) -> Result<()> {
    let mut problems = vec![];
    for path in paths {
        match open(&path) {
            Ok(()) => return Ok(()),
            Err(problem) => problems.push(problem),
        }
    }
    let problem = format!("{what} cannot be loaded ({})", problems.join("; "));
    Err(Error::unavailable("CUDA", problem, INSTALL))
}

/// Loads a library with global symbols, for the rest of the process.
fn open(path: &std::path::Path) -> Result<(), String> {
    // SAFETY: NVIDIA's and libtorch's libraries may be loaded at any time, by any thread; their
    // constructors call no code of this crate.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    match library {
        Ok(library) => {
            // Never closed: libtorch keeps pointers into it.
            let _ = library.into_raw();
            Ok(())
        }
        // The system's message is the source of libloading's error.
        Err(error) => {
            Err(std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), |e| e.to_string()))
        }
    }
}

/// The folder of this process's libtorch_cpu.so.
fn libtorch_folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    folder_of(&maps, "libtorch_cpu.so")
}

/// The folder of a library in `/proc/self/maps`.
fn folder_of(maps: &str, library: &str) -> Option<PathBuf> {
    maps.lines().find_map(|line| {
        // The path is the rest of the line, and may contain blanks.
        let path = PathBuf::from(&line[line.find('/')?..]);
        (path.file_name()? == library).then(|| path.parent().map(PathBuf::from))?
    })
}

/// Two levels above `lib`: `site-packages` of a Python torch, or `.libtorch` of `cargo xtask setup`.
fn libtorch_root() -> Option<PathBuf> {
    Some(libtorch_folder()?.parent()?.parent()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_mapped_library_is_found() {
        let maps = "55d0-55d1 r--p 00000000 fe:00 1 /usr/bin/program\n\
                    7f00-7f01 r-xp 00000000 00:00 0 \n\
                    7f01-7f02 r--p 00000000 fe:00 2    /a place/torch/lib/libtorch_cpu.so\n";
        assert_eq!(folder_of(maps, "libtorch_cpu.so"), Some("/a place/torch/lib".into()));
        assert_eq!(folder_of(maps, "libc10.so"), None);
    }

    #[test]
    fn the_libtorch_of_this_process_is_found() {
        assert!(tch::Tensor::zeros([1], (tch::Kind::Float, tch::Device::Cpu)).defined());
        assert!(libtorch_folder().unwrap().join("libtorch_cpu.so").exists());
    }

    #[test]
    fn a_failure_to_load_names_every_path() {
        let paths = ["/no/such/libnothing.so", "libnothing-either.so"].map(PathBuf::from);
        let error = load_first("a test", paths.into_iter()).unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }));
        let message = error.to_string();
        for words in ["/no/such/libnothing.so", "libnothing-either.so", "setup --cuda"] {
            assert!(message.contains(words), "{message}");
        }
    }
}
