//! Sets the rpath of programs and tests to libtorch.

use std::{env, path::PathBuf};

fn main() {
    // docs.rs has no libtorch, and rustdoc links nothing.
    if env::var_os("DOCS_RS").is_some() {
        return;
    }
    // torch-sys passes the path of libtorch to its direct dependents.
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo::error=torch-sys did not say where libtorch is; run `cargo xtask setup`");
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    // DT_RPATH precedes LD_LIBRARY_PATH, where another torch would prevent the program from starting.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
}
