//! The stand-ins, compiled, and the functions of the real libraries that they leave out.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::setup;

/// A library that is stood in for.
struct Library {
    name: &'static str,
    /// In `xtask/cuda-stand-ins`.
    sources: &'static [&'static str],
    /// Whether its symbols carry its name as their version, as those of all but the driver do.
    versioned: bool,
}

/// The driver first: the others are linked against it.
const LIBRARIES: [Library; 4] = [
    Library { name: "libcuda.so.1", sources: &["log.cpp", "driver.cpp"], versioned: false },
    Library { name: "libcudart.so.13", sources: &["runtime.cpp", "launches.cpp"], versioned: true },
    Library { name: "libcublas.so.13", sources: &["blas.cpp"], versioned: true },
    Library { name: "libcublasLt.so.13", sources: &["blas_lt.cpp"], versioned: true },
];

/// Compiles the stand-ins into `folder`; their paths, in the order of loading.
///
/// * `real`: folders of the real CUDA libraries. What these export and the stand-ins do not define
///   becomes a stub that notes the call and answers 0, as does what these want of the driver.
///
/// # Errors
/// Where there is no C++ compiler, no `nm`, or no space.
pub fn build(folder: &Path, real: &[PathBuf]) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let mut built: Vec<PathBuf> = vec![];
    for library in &LIBRARIES {
        let mut objects = vec![];
        for source in library.sources {
            let object = folder.join(source).with_extension("o");
            let path = setup::root().join("xtask/cuda-stand-ins").join(source);
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
        std::fs::write(&source, stubs(&left_out)).map_err(Error::io(&source, "write"))?;
        let object = source.with_extension("o");
        // As C: the C++ compiler would mangle the names.
        run(compiler().args(["-x", "c", "-c"]).args(HIDDEN).arg(&source).arg("-o").arg(&object))?;
        objects.push(object);

        let path = folder.join(library.name);
        let mut link = compiler();
        link.arg("-shared").args(&objects).arg(format!("-Wl,-soname,{}", library.name));
        if library.versioned {
            let map = folder.join(format!("{}.map", library.name));
            std::fs::write(&map, format!("{} {{ global: *; }};\n", library.name))
                .map_err(Error::io(&map, "write"))?;
            link.arg(joined("-Wl,--version-script,", &map));
        }
        run(link.args(built.first()).arg("-ldl").arg("-o").arg(&path))?;
        built.push(path);
    }
    Ok(built)
}

/// What loads the stand-ins before the libraries that they stand in for.
pub fn preload(stand_ins: &[PathBuf]) -> OsString {
    let paths: Vec<&OsStr> = stand_ins.iter().map(|path| path.as_os_str()).collect();
    paths.join(OsStr::new(":"))
}

/// Symbols are exported where the source says so.
const HIDDEN: [&str; 4] = ["-O1", "-fPIC", "-fvisibility=hidden", "-Wall"];

fn compiler() -> Command {
    Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()))
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

/// Functions that others may call and no object defines.
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
        // There need be no driver here: what the others want of it is all that is known.
        for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
            let path = entry.map_err(Error::io(folder, "read"))?.path();
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

/// Functions of a library or an object, as C calls them.
fn symbols(options: &[&str], path: &Path) -> Result<BTreeSet<String>> {
    let output = output(Command::new("nm").args(options).arg(path))?;
    Ok(output.lines().filter_map(function).collect())
}

/// The function in a line of `nm`: an address where it is defined, a letter, the name.
fn function(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().rev();
    let (name, letter) = (words.next()?, words.next()?);
    // The version, of the library that it is in, is not part of the name.
    let name = name.split('@').next()?;
    let in_c = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (["T", "W", "U"].contains(&letter) && in_c).then(|| name.to_owned())
}

/// The source of functions that note their call and answer 0.
fn stubs(names: &BTreeSet<String>) -> String {
    let mut text = String::from(
        "void stand_in_unknown(const char*);\n\
         #define STUB(NAME) __attribute__((weak, visibility(\"default\"))) int NAME(void) { \\\n\
         \x20 stand_in_unknown(#NAME); return 0; }\n",
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
        format!("{command:?} fails:\n{}", String::from_utf8_lossy(&output.stderr)),
        "install a C++ compiler and binutils (Debian: build-essential)",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::count::Counts;
    use super::super::log;
    use super::*;

    #[test]
    fn functions_are_read_off_what_nm_prints() {
        let function = |line| super::function(line);
        assert_eq!(
            function("0000000000012340 T cudaMalloc@@libcudart.so.13"),
            Some("cudaMalloc".into())
        );
        assert_eq!(function("                 U cuInit"), Some("cuInit".into()));
        for other in ["0000 D some_data", "0000 T _ZN3foo3barEv.cold", "", "nothing"] {
            assert_eq!(function(other), None, "{other}");
        }
        assert!(is_of_driver("cuInit") && !is_of_driver("cudaMalloc") && !is_of_driver("cu"));
    }

    /// A program that does each thing once, linked against the stand-ins as libtorch is.
    #[test]
    fn a_program_on_the_stand_ins_is_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let stand_ins = build(&folder.path().join("lib"), &[]).unwrap();
        let (source, program) = (folder.path().join("p.cpp"), folder.path().join("p"));
        std::fs::write(&source, PROGRAM).unwrap();
        run(compiler().arg(&source).args(&stand_ins).arg("-o").arg(&program)).unwrap();
        let written = folder.path().join("log");
        let said = output(
            Command::new(&program)
                .env("QRNN_CUDA_LOG", &written)
                .env("LD_LIBRARY_PATH", folder.path().join("lib")),
        )
        .unwrap();
        assert_eq!(said, "no GPU (stand-in) 132\n");
        let events = log::read(&written).unwrap();
        let counts = Counts::of(&events);
        let names: Vec<_> = counts.by_name.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        let expected = [
            ("copy, device to host, pageable", 1),
            ("copy, host to device, pinned", 1),
            ("cublasLtMatmul TN m=3 n=4 k=5 bf16,f32 epilogue=bias", 1),
            ("kernel(float*)", 1),
            ("memset", 1),
            ("ours", 2),
        ];
        // A kernel's parameters are left out of its row, so this one is "kernel".
        let expected = expected.map(|(name, n)| (name.trim_end_matches("(float*)"), n));
        assert_eq!(names, expected);
        assert_eq!((counts.ours, counts.libtorch, counts.pageable), (2, 1, 1));
        assert_eq!(counts.without_context, 1, "the launch of another thread");
        assert_eq!(counts.allocations, 4);
        assert_eq!(counts.synchronizations, 1);
        assert_eq!(counts.unknown, 0);
    }

    const PROGRAM: &str = r#"
        #include <cstdint>
        #include <cstdio>
        #include <cstring>
        #include <thread>
        struct Dimensions { unsigned x, y, z; };
        extern "C" {
        int cudaGetDeviceProperties(void*, int);
        int cudaMalloc(void**, size_t);
        int cudaFree(void*);
        int cudaHostAlloc(void**, size_t, unsigned);
        int cudaFreeHost(void*);
        int cudaMemcpyAsync(void*, const void*, size_t, int, void*);
        int cudaMemsetAsync(void*, int, size_t, void*);
        int cudaStreamSynchronize(void*);
        int cudaLaunchKernel(const void*, Dimensions, Dimensions, void**, size_t, void*);
        void __cudaRegisterFunction(void**, const char*, char*, const char*, int, void*, void*, void*,
                                    void*, int*);
        int cuModuleLoadData(void**, const void*);
        int cuModuleGetFunction(void**, void*, const char*);
        int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                           void*, void**, void**);
        int cublasLtMatrixLayoutCreate(void**, int, uint64_t, uint64_t, int64_t);
        int cublasLtMatmulDescCreate(void**, int, int);
        int cublasLtMatmulDescSetAttribute(void*, int, const void*, size_t);
        int cublasLtMatmul(void*, void*, const void*, const void*, void*, const void*, void*,
                           const float*, const void*, void*, void*, void*, const void*, void*, size_t,
                           void*);
        }
        int main() {
          char properties[1008];
          cudaGetDeviceProperties(properties, 0);
          int multiprocessors;
          memcpy(&multiprocessors, properties + 384, sizeof multiprocessors);
          printf("%s %d\n", properties, multiprocessors);

          void *device, *host;
          cudaMalloc(&device, 64);
          cudaHostAlloc(&host, 64, 0);
          memset(host, 7, 64);
          cudaMemcpyAsync(device, host, 64, 1, nullptr);
          char back[64];
          cudaMemcpyAsync(back, device, 64, 2, nullptr);
          if (back[63] != 7) return 1;
          cudaMemsetAsync(device, 0, 64, nullptr);
          cudaStreamSynchronize(nullptr);

          char of_kernel;
          __cudaRegisterFunction(nullptr, &of_kernel, nullptr, "_Z6kernelPf", 0, nullptr, nullptr,
                                 nullptr, nullptr, nullptr);
          cudaLaunchKernel(&of_kernel, {1, 1, 1}, {64, 1, 1}, nullptr, 0, nullptr);
          void *module, *function;
          cuModuleLoadData(&module, "");
          cuModuleGetFunction(&function, module, "ours");
          auto launch = [&] {
            return cuLaunchKernel(function, 2, 1, 1, 64, 1, 1, 0, nullptr, nullptr, nullptr);
          };
          if (launch() != 0) return 2;
          int refused = 0;
          std::thread([&] { refused = launch(); }).join();
          if (refused != 201) return 3;

          void *a, *b, *d, *operation;
          cublasLtMatrixLayoutCreate(&a, 14, 5, 3, 5);
          cublasLtMatrixLayoutCreate(&b, 14, 5, 4, 5);
          cublasLtMatrixLayoutCreate(&d, 0, 3, 4, 3);
          cublasLtMatmulDescCreate(&operation, 68, 0);
          const int transposed = 1, bias = 4;
          cublasLtMatmulDescSetAttribute(operation, 3, &transposed, sizeof transposed);
          cublasLtMatmulDescSetAttribute(operation, 7, &bias, sizeof bias);
          const float zero = 0;
          cublasLtMatmul(nullptr, operation, nullptr, nullptr, a, nullptr, b, &zero, nullptr, d,
                         nullptr, d, nullptr, nullptr, 0, nullptr);
          cudaFree(device);
          cudaFreeHost(host);
        }"#;
}
