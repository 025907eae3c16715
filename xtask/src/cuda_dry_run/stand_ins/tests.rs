//! Programs on the stand-ins.

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
    let (said, counts) = ran(folder.path(), PROGRAM, &stand_ins, None);
    assert_eq!(said, "no GPU (stand-in) 132\n");
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

/// Linked against the stand-ins, with one argument: what it prints, and its log.
fn ran(
    folder: &Path,
    text: &str,
    stand_ins: &[PathBuf],
    argument: Option<&Path>,
) -> (String, Counts) {
    let (source, program) = (folder.join("p.cpp"), folder.join("p"));
    std::fs::write(&source, text).unwrap();
    process::run(compiler().arg(&source).args(stand_ins).arg("-o").arg(&program)).unwrap();
    let written = folder.join("log");
    let mut command = Command::new(&program);
    command.args(argument).env("QRNN_CUDA_LOG", &written);
    let said = process::output(command.env("LD_LIBRARY_PATH", folder.join("lib"))).unwrap();
    (said, Counts::of(&log::read(&written).unwrap()))
}

/// Whoever believed a success would read what nobody has written.
#[test]
fn what_the_stand_ins_lack_says_that_it_is_not_supported() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    std::fs::create_dir(&real).unwrap();
    for (library, text) in [
        ("libcudart.so.13", "int cudaOfTomorrow(void) { return 0; }"),
        ("libcublas.so.13", "int cublasOfTomorrow(void) { return 0; }"),
        ("libother.so", "int cuOfTomorrow(void); int other(void) { return cuOfTomorrow(); }"),
    ] {
        let source = real.join("library.c");
        std::fs::write(&source, text).unwrap();
        let mut c = compiler();
        c.args(["-x", "c", "-shared", "-fPIC"]).arg(&source).arg("-o").arg(real.join(library));
        process::run(&mut c).unwrap();
    }
    let stand_ins = build(&folder.path().join("lib"), &[real]).unwrap();
    let (said, counts) = ran(folder.path(), OF_TOMORROW, &stand_ins, None);
    assert_eq!(said, "801 801 15\n");
    assert_eq!(counts.unknown, 3);
}

const OF_TOMORROW: &str = r#"
    #include <cstdio>
    extern "C" int cuOfTomorrow(), cudaOfTomorrow(), cublasOfTomorrow();
    int main() { printf("%d %d %d\n", cuOfTomorrow(), cudaOfTomorrow(), cublasOfTomorrow()); }"#;

/// The dry run compiles kernels on the stand-ins wherever no cache has their images.
#[test]
fn nvrtc_compiles_on_the_stand_ins() {
    let folder = tempfile::tempdir().unwrap();
    let stand_ins = build(&folder.path().join("lib"), &[]).unwrap();
    let (said, counts) = ran(folder.path(), COMPILE, &stand_ins, Some(&nvrtc()));
    assert_eq!(said, "compiled\n");
    assert_eq!(counts.synchronizations, 1, "the driver is the stand-in");
}

/// As src/cuda/libraries.rs looks for it; the folder is empty where only the loader may know it.
fn nvrtc() -> PathBuf {
    let libtorch = std::env::var_os("LIBTORCH").map(PathBuf::from);
    let libtorch = libtorch.unwrap_or_else(|| workspace::root().join(".libtorch/current"));
    let above = libtorch.parent().unwrap();
    let folders = ["", "cuda", "nvrtc"].map(|name| above.join(name).join("nvidia/cu13/lib"));
    folders.into_iter().find(|f| f.join("libnvrtc.so.13").exists()).unwrap_or_default()
}

const COMPILE: &str = r#"
    #include <dlfcn.h>
    #include <cstdio>
    #include <string>
    extern "C" int cuCtxSynchronize();
    int main(int, char** arguments) {
      cuCtxSynchronize();
      const std::string folder = *arguments[1] ? std::string(arguments[1]) + "/" : "";
      dlopen((folder + "libnvrtc-builtins.so.13.0").c_str(), RTLD_NOW | RTLD_GLOBAL);
      void* const nvrtc = dlopen((folder + "libnvrtc.so.13").c_str(), RTLD_NOW);
      if (!nvrtc) return puts(dlerror()), 2;
      const auto create =
          reinterpret_cast<int (*)(void**, const char*, const char*, int, void*, void*)>(
              dlsym(nvrtc, "nvrtcCreateProgram"));
      const auto compile = reinterpret_cast<int (*)(void*, int, const char* const*)>(
          dlsym(nvrtc, "nvrtcCompileProgram"));
      void* program;
      if (create(&program, "extern \"C\" __global__ void k(float* x) { *x = 1; }", "k.cu", 0,
                 nullptr, nullptr))
        return 3;
      const char* const options[] = {"--gpu-architecture=sm_90"};
      if (compile(program, 1, options)) return 4;
      puts("compiled");
    }"#;

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
