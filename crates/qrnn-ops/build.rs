//! Compiles the C++ shims against libtorch's headers, and sets the rpath of this crate's tests.

use std::{env, path::PathBuf};

fn main() {
    let shims = [
        "src/autograd/shim.cpp",
        "src/cuda/shim.cpp",
        "src/libtorch/pinned.cpp",
        "src/libtorch/shim.cpp",
        "src/process_group/cpp/collectives.cpp",
        "src/process_group/cpp/gloo.cpp",
        "src/process_group/cpp/gradient_sums.cpp",
        "src/process_group/cpp/nccl.cpp",
        "src/process_group/cpp/store.cpp",
    ];
    let headers =
        ["src/libtorch/guarded.h", "src/process_group/cpp/shim.h", "src/process_group/cpp/stubs"];
    for shim in shims.iter().chain(&headers) {
        println!("cargo:rerun-if-changed={shim}");
    }
    // docs.rs has no libtorch, and rustdoc links nothing.
    if env::var_os("DOCS_RS").is_some() {
        return;
    }
    // torch-sys passes the path of libtorch to its direct dependents.
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo::error=torch-sys did not say where libtorch is; run `cargo xtask setup`");
        return;
    };
    let include = lib.with_file_name("include");
    if !include.join("ATen").is_dir() {
        println!(
            "cargo::error=no libtorch headers in {}; run `cargo xtask setup`",
            include.display()
        );
        return;
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        .warnings(false)
        .flag("-fopenmp") // at::parallel_for is a template over OpenMP
        .include("src/process_group/cpp/stubs")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .files(shims)
        .compile("qrnn_shim");
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=gomp");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
