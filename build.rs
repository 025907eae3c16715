//! Gives programs and tests an rpath to libtorch.

use std::{env, path::PathBuf};

fn main() {
    // docs.rs has no libtorch, and rustdoc links nothing.
    if env::var_os("DOCS_RS").is_some() {
        return;
    }
    // torch-sys has found and checked libtorch by now; it tells its direct dependents where.
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo::error=torch-sys did not say where libtorch is; run `cargo xtask setup`");
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    // DT_RPATH, which comes before LD_LIBRARY_PATH: another torch there would keep a program from
    // starting, even with `--help`. src/bin/reproduce/torch_on_path.rs uses one that fits.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
}
