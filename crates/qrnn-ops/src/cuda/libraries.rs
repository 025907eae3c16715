//! The shared libraries that make a process speak CUDA: where they lie, and loading them.
//!
//! libtorch settles for good whether it has CUDA when it is first asked anything of the kind, and
//! operations on the CPU ask too. So its CUDA part is loaded before `main`, where there is a driver:
//! [`tch::Device::cuda_if_available`] then tells the truth wherever it is called, in a notebook's
//! cell too. Without a driver nothing is loaded. `QRNN_CUDA=off` prevents it; it takes a few tenths
//! of a second.

use std::path::PathBuf;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::{Error, Result};

/// Set to `off`, no process loads CUDA.
pub const SWITCH: &str = "QRNN_CUDA";

/// What to do where something of libtorch's is missing.
const BRING: &str = "run `cargo xtask setup --cuda`, or put the `lib` folder of a Python torch 2.11.0 \
                     and its `nvidia/*/lib` folders on LD_LIBRARY_PATH; or use --device cpu";

// SAFETY: a function without arguments in .init_array is what the loader calls there. It runs before
// `main`, after the constructors of libtorch's CPU part, which this crate is linked against; it
// opens files and libraries only, and never panics.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = at_start;

extern "C" fn at_start() {
    if driver().is_ok() {
        // Whoever asks for CUDA later hears why it is not to be had.
        let _ = libtorch_cuda();
    }
}

/// Loads the NVIDIA driver's library.
///
/// # Errors
/// [`Error::Unavailable`] where there is none.
pub fn driver() -> Result<()> {
    if std::env::var_os(SWITCH).is_some_and(|value| value == "off") {
        return Err(Error::unavailable(
            "CUDA",
            format!("it is switched off: {SWITCH}=off"),
            format!("unset {SWITCH}, or use --device cpu"),
        ));
    }
    open("libcuda.so.1".as_ref()).map_err(|said| {
        Error::unavailable(
            "CUDA",
            format!("this machine has no NVIDIA driver ({said})"),
            "use --device cpu, or a machine with an NVIDIA GPU whose driver is 580 or later and where \
             `nvidia-smi` lists the GPU (a container must be started with it: docker run --gpus all)",
        )
    })
}

/// Loads libtorch's CUDA part, visible to the part that is there. Done once a process; more often
/// does no harm.
///
/// # Errors
/// [`Error::Unavailable`] with the places where it was looked for.
pub fn libtorch_cuda() -> Result<()> {
    let beside = libtorch_folder().map(|folder| folder.join("libtorch_cuda.so"));
    let brought = above_libtorch().map(|root| root.join("cuda/torch/lib/libtorch_cuda.so"));
    let places = [beside, brought, Some("libtorch_cuda.so".into())];
    first_that_loads("libtorch's CUDA part", places.into_iter().flatten())
}

/// Loads NVRTC, and the library of its built-in functions, which it does not find by itself.
///
/// # Errors
/// [`Error::Unavailable`] with the places where it was looked for.
pub fn nvrtc() -> Result<()> {
    let root = above_libtorch();
    // Python's layout, what `setup --cuda` brings, and what every set-up brings.
    let roots =
        ["", "cuda", "nvrtc"].into_iter().filter_map(|name| Some(root.as_ref()?.join(name)));
    let folders = roots.map(|root| root.join("nvidia/cu13/lib")).chain([PathBuf::new()]);
    first_that_loads(
        "NVRTC, the compiler of CUDA kernels,",
        folders.map(|folder| {
            let _ = open(&folder.join("libnvrtc-builtins.so.13.0"));
            folder.join("libnvrtc.so.13")
        }),
    )
}

fn first_that_loads(what: &str, places: impl Iterator<Item = PathBuf>) -> Result<()> {
    let mut said = vec![];
    for place in places {
        match open(&place) {
            Ok(()) => return Ok(()),
            Err(problem) => said.push(problem),
        }
    }
    let problem = format!("{what} cannot be loaded ({})", said.join("; "));
    Err(Error::unavailable("CUDA", problem, BRING))
}

/// Loads a library for the rest of the process, for all others to see.
fn open(path: &std::path::Path) -> Result<(), String> {
    // SAFETY: NVIDIA's and libtorch's libraries may be loaded at any time, by any thread; their
    // constructors register what they have and call nothing of ours.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    match library {
        Ok(library) => {
            // Never closed: libtorch keeps pointers into it.
            let _ = library.into_raw();
            Ok(())
        }
        // libloading hides the system's words one level down.
        Err(error) => {
            Err(std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), |e| e.to_string()))
        }
    }
}

/// The folder that this process loaded libtorch's CPU part from.
fn libtorch_folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    folder_of(&maps, "libtorch_cpu.so")
}

/// In the system's list of mapped files.
fn folder_of(maps: &str, library: &str) -> Option<PathBuf> {
    maps.lines().find_map(|line| {
        // The path is the rest of the line: blanks may be in it.
        let path = PathBuf::from(&line[line.find('/')?..]);
        (path.file_name()? == library).then(|| path.parent().map(PathBuf::from))?
    })
}

/// `site-packages` of a Python torch, `.libtorch` of our set-up: two above `lib`.
fn above_libtorch() -> Option<PathBuf> {
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
    fn this_process_runs_on_a_libtorch_that_is_found() {
        assert!(tch::Tensor::zeros([1], (tch::Kind::Float, tch::Device::Cpu)).defined());
        assert!(libtorch_folder().unwrap().join("libtorch_cpu.so").exists());
    }

    #[test]
    fn what_cannot_be_loaded_is_said_with_every_place() {
        let places = ["/no/such/libnothing.so", "libnothing-either.so"].map(PathBuf::from);
        let error = first_that_loads("a test", places.into_iter()).unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }));
        let said = error.to_string();
        for words in ["/no/such/libnothing.so", "libnothing-either.so", "setup --cuda"] {
            assert!(said.contains(words), "{said}");
        }
    }
}
