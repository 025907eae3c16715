//! Compiles the stand-ins, with stubs for the functions of the real libraries that they do not define.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::workspace;

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
    let mut built: Vec<PathBuf> = vec![];
    for library in &LIBRARIES {
        let mut objects = vec![];
        for source in library.sources {
            let object = folder.join(source).with_extension("o");
            let path = workspace::root().join("xtask/cuda-stand-ins").join(source);
            run(compiler()
                .args(["-std=c++17", "-c"])
                .args(HIDDEN)
                .arg(path)
                .arg("-o")
                .arg(&object))?;
            objects.push(object);
        }
        let left_out = left_out(library, &objects, real)?;
        let source = folder.join(format!("{}-stubs.c", library.name));
        fs_err::write(&source, stubs(&left_out, library.not_supported))?;
        let object = source.with_extension("o");
        // Compiled as C, because C++ would mangle the names.
        run(compiler().args(["-x", "c", "-c"]).args(HIDDEN).arg(&source).arg("-o").arg(&object))?;
        objects.push(object);

        let path = folder.join(library.name);
        let mut link = compiler();
        link.arg("-shared").args(&objects).arg(format!("-Wl,-soname,{}", library.name));
        if library.versioned {
            let map = folder.join(format!("{}.map", library.name));
            fs_err::write(&map, format!("{} {{ global: *; }};\n", library.name))
                .map_err(Error::io(&map, "write"))?;
            link.arg(joined("-Wl,--version-script,", &map));
        }
        run(link.args(built.first()).arg("-ldl").arg("-o").arg(&path))?;
        built.push(path);
    }
    // Libraries look the driver up by this name as well.
    let unversioned = folder.join("libcuda.so");
    if fs_err::symlink_metadata(&unversioned).is_err() {
        std::os::unix::fs::symlink(LIBRARIES[0].name, &unversioned)
            .map_err(Error::io(&unversioned, "link"))?;
    }
    Ok(built)
}

/// Only symbols that the source marks are exported.
const HIDDEN: [&str; 4] = ["-O1", "-fPIC", "-fvisibility=hidden", "-Wall"];

fn compiler() -> Command {
    Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()))
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

/// Functions that others may call and that no object defines.
fn left_out(library: &Library, objects: &[PathBuf], real: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut wanted = BTreeSet::new();
    for folder in real {
        if library.versioned {
            let path = folder.join(library.name);
            if path.exists() {
                wanted.extend(symbols(&["-D", "--defined-only"], &path)?);
            }
            continue;
        }
        // There may be no driver here, so only what the other libraries need from it is known.
        for entry in fs_err::read_dir(folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so")) {
                let of_driver = |name: &String| is_of_driver(name);
                let undefined = symbols(&["-D", "--undefined-only"], &path)?;
                wanted.extend(undefined.into_iter().filter(of_driver));
            }
        }
    }
    for object in objects {
        for own in symbols(&["--defined-only"], object)? {
            wanted.remove(&own);
        }
    }
    Ok(wanted)
}

/// `cuLaunchKernel`, but neither `cudaLaunchKernel` nor `cublasCreate_v2`.
fn is_of_driver(name: &str) -> bool {
    name.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// The C functions of a library or an object.
fn symbols(options: &[&str], path: &Path) -> Result<BTreeSet<String>> {
    let output = output(Command::new("nm").args(options).arg(path))?;
    Ok(output.lines().filter_map(function).collect())
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

/// The source of functions that log their call and return this error. After a success, callers would read
/// results that were never written.
fn stubs(names: &BTreeSet<String>, answer: u32) -> String {
    let mut text = format!(
        "void stand_in_unknown(const char*);\n\
         #define STUB(NAME) __attribute__((weak, visibility(\"default\"))) int NAME(void) {{ \\\n\
         \x20 stand_in_unknown(#NAME); return {answer}; }}\n",
    );
    for name in names {
        text += &format!("STUB({name})\n");
    }
    text
}

fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(Error::io(command.get_program(), "run"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::machine(
        format!(
            "{command:?} fails, {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ),
        "install a C++ compiler and binutils (Debian: build-essential)",
    ))
}

#[cfg(test)]
mod tests;
