//! The Jupyter kernel: built and installed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::cargo;
use crate::error::{Error, Result};
use crate::jupyter::rust_src;
use crate::setup::Libtorch;
use crate::{terminal, workspace};

const PROGRAM: &str = "qrnn-jupyter";

/// The Python packages of a client of the kernel.
pub const CLIENTS: &str = include_str!("../../../crates/qrnn-jupyter/tests/requirements.txt");

/// Builds the kernel and the library that its cells find loaded, and installs both.
pub fn install(libtorch: Libtorch, prefix: Option<&Path>) -> Result<ExitCode> {
    rust_src::install();
    let start = Instant::now();
    terminal::note("building the kernel (the first time takes minutes: it holds rust-analyzer)");
    let kernel = ["--profile", "kernel", "--package", PROGRAM];
    let Some(built) = cargo::build(libtorch, "build", kernel)? else {
        return Ok(ExitCode::FAILURE);
    };
    let program = cargo::program(built, PROGRAM)?;
    terminal::note(format_args!("  {:.0} s: {}", start.elapsed().as_secs_f64(), program.display()));

    let start = Instant::now();
    terminal::note("building what notebooks find loaded: qrnn, tch and all that they use");
    let torch = folder_of(libtorch);
    let preload = ["--release", "--package", "qrnn-preload", "--lib", "--"].map(str::to_owned);
    let arguments = preload.into_iter().chain(link_arguments(&torch)?);
    let Some(artifacts) = cargo::build(libtorch, "rustc", arguments)? else {
        return Ok(ExitCode::FAILURE);
    };
    let list: Vec<String> = artifacts
        .into_iter()
        .flat_map(|artifact| artifact.filenames)
        .filter(|path| matches!(path.extension(), Some("rlib" | "so")))
        .map(|path| path.into_string())
        .collect();
    terminal::note(format_args!(
        "  {:.0} s: {} libraries",
        start.elapsed().as_secs_f64(),
        list.len()
    ));

    let folder = folder();
    fs_err::create_dir_all(&folder)?;
    let file = folder.join("artifacts");
    fs_err::write(&file, list.join("\n"))?;
    let mut command = Command::new(&program);
    command.arg("install").arg("--artifacts").arg(&file).arg("--libtorch").arg(&torch);
    command.arg("--sources").arg(workspace::root());
    if let Some(prefix) = prefix {
        command.arg("--prefix").arg(prefix);
    }
    let status = command.status().map_err(Error::io(&program, "run"))?;
    if status.success() {
        terminal::note("installed; Jupyter lists it as \"Rust (qrnn)\"");
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

/// Where that libtorch lies.
pub fn folder_of(libtorch: Libtorch) -> PathBuf {
    match libtorch {
        Libtorch::Ours => workspace::root().join(".libtorch/current"),
        Libtorch::Theirs => std::env::var_os("LIBTORCH").map(PathBuf::from).unwrap_or_default(),
    }
}

/// How the library is linked: with Rust's standard library shared, and found where they lie.
fn link_arguments(libtorch: &Path) -> Result<Vec<String>> {
    let exports = workspace::root().join("crates/qrnn-jupyter/preload/exports.map");
    let output = Command::new("rustc").args(["--print", "target-libdir"]).output();
    let output = output.map_err(Error::io("rustc", "run"))?;
    let standard = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let arguments = [
        "-Cprefer-dynamic".to_owned(),
        "-Cstrip=debuginfo".to_owned(),
        format!("-Clink-arg=-Wl,--version-script={}", exports.display()),
        "-Clink-arg=-Wl,-soname,libqrnn_preload.so".to_owned(),
        format!("-Clink-arg=-Wl,-rpath,{}", libtorch.join("lib").display()),
        format!("-Clink-arg=-Wl,-rpath,{standard}"),
    ];
    Ok(arguments.into())
}

/// Where chores about Jupyter keep their files.
pub fn folder() -> PathBuf {
    workspace::root().join("target/jupyter")
}
