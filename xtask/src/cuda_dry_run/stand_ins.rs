//! Compiles the stand-ins, with stubs for the functions of the real libraries that they do not define.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Result;
use crate::{process, workspace};

/// A library that a stand-in replaces.
struct Library {
    name: &'static str,
    /// In `xtask/cuda-stand-ins`.
    sources: &'static [&'static str],
    /// Whether its symbols have its name as their version, as in all but the driver.
    versioned: bool,
    /// Its error code for "not supported", which stubs return.
    not_supported: u32,
}

/// The driver comes first, because the others link it.
const LIBRARIES: [Library; 4] = [
    Library {
        name: "libcuda.so.1",
        sources: &["log.cpp", "driver.cpp"],
        versioned: false,
        not_supported: 801,
    },
    Library {
        name: "libcudart.so.13",
        sources: &["runtime.cpp", "launches.cpp"],
        versioned: true,
        not_supported: 801,
    },
    Library { name: "libcublas.so.13", sources: &["blas.cpp"], versioned: true, not_supported: 15 },
    Library {
        name: "libcublasLt.so.13",
        sources: &["blas_lt.cpp"],
        versioned: true,
        not_supported: 15,
    },
];

/// Compiles the stand-ins into `folder` and returns their paths in the order of loading.
///
/// * `real`: folders of the real CUDA libraries. A function that these export, or need from the driver, and
///   that no stand-in defines becomes a stub that logs the call and returns "not supported".
pub fn build(folder: &Path, real: &[PathBuf]) -> Result<Vec<PathBuf>> {
    fs_err::create_dir_all(folder)?;
    let sources = workspace::root().join("xtask/cuda-stand-ins");
    let mut built: Vec<PathBuf> = vec![];
    for library in &LIBRARIES {
        let name = library.name;
        let stub_file = folder.join(format!("{name}-stubs.cpp"));
        fs_err::write(&stub_file, stubs(&wanted(library, real)?, library.not_supported))?;
        let path = folder.join(name);
        let mut compile = compiler();
        // Only symbols that the source marks are exported.
        compile.args(["-std=c++17", "-shared", "-O1", "-fPIC", "-fvisibility=hidden", "-Wall"]);
        compile.args(library.sources.iter().map(|source| sources.join(source))).arg(stub_file);
        compile.arg(format!("-Wl,-soname,{name}"));
        if library.versioned {
            let map = folder.join(format!("{name}.map"));
            fs_err::write(&map, format!("{name} {{ global: *; }};\n"))?;
            compile.arg(format!("-Wl,--version-script,{}", map.display()));
        }
        process::run(compile.args(built.first()).arg("-ldl").arg("-o").arg(&path))?;
        built.push(path);
    }
    // Libraries look the driver up by this name as well.
    let unversioned = folder.join("libcuda.so");
    if fs_err::symlink_metadata(&unversioned).is_err() {
        fs_err::os::unix::fs::symlink(LIBRARIES[0].name, &unversioned)?;
    }
    Ok(built)
}

fn compiler() -> Command {
    Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()))
}

/// Functions that others may call: those of the real library. Of the driver, which this machine may lack,
/// those that the other libraries need.
fn wanted(library: &Library, real: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut wanted = BTreeSet::new();
    for folder in real {
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if library.versioned && name == library.name {
                wanted.extend(symbols("--defined-only", &entry.path())?);
            } else if !library.versioned && name.to_string_lossy().contains(".so") {
                let undefined = symbols("--undefined-only", &entry.path())?;
                wanted.extend(undefined.into_iter().filter(|name| is_of_driver(name)));
            }
        }
    }
    Ok(wanted)
}

/// `cuLaunchKernel`, but neither `cudaLaunchKernel` nor `cublasCreate_v2`.
fn is_of_driver(name: &str) -> bool {
    name.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// The C functions of a library.
fn symbols(option: &str, library: &Path) -> Result<Vec<String>> {
    let symbols = process::output(Command::new("nm").args(["-D", option]).arg(library))?;
    Ok(symbols.lines().filter_map(function).collect())
}

/// The function in a line of `nm`: address (if defined), letter, name.
fn function(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().rev();
    let (name, letter) = (words.next()?, words.next()?);
    // Without the symbol's version.
    let name = name.split('@').next()?;
    let in_c = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (["T", "W", "U"].contains(&letter) && in_c).then(|| name.to_owned())
}

/// The source of functions that log their call and return this error; a function that a stand-in defines
/// goes before its stub, which is weak. After a success, callers would read results that were never written.
fn stubs(names: &BTreeSet<String>, answer: u32) -> String {
    let mut text = format!(
        "extern \"C\" void stand_in_unknown(const char*);\n\
         #define STUB(NAME) extern \"C\" __attribute__((weak, visibility(\"default\"))) int NAME() {{ \\\n\
         \x20 stand_in_unknown(#NAME); return {answer}; }}\n",
    );
    for name in names {
        text += &format!("STUB({name})\n");
    }
    text
}

#[cfg(test)]
mod tests;
