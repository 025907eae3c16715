//! Builds and installs the Jupyter kernel: `cargo xtask kernel`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::error::Result;
use crate::jupyter::{rust_src, stock_kernel};
use crate::setup::Libtorch;
use crate::{cargo, process, setup, terminal, workspace};

const PROGRAM: &str = "qrnn-jupyter";

/// The Python packages of a client of the kernel.
pub const CLIENT_REQUIREMENTS: &str =
    include_str!("../../../crates/qrnn-jupyter/tests/requirements.txt");

/// Build and install the Jupyter kernel and the library that it preloads
#[derive(Debug, clap::Args)]
pub struct Kernel {
    /// Install under DIR/share instead of the user's data folder
    #[arg(long, value_name = "DIR")]
    pub prefix: Option<PathBuf>,
    /// Instead of our kernel, add the stock evcxr_jupyter to Jupyter's list, with the path of libtorch
    #[arg(long)]
    pub stock: bool,
}

impl Kernel {
    pub fn run(self) -> Result<()> {
        let libtorch = setup::run()?;
        if self.stock {
            return stock_kernel::install(&libtorch.folder(), self.prefix.as_deref());
        }
        rust_src::install();
        let program = build_kernel(libtorch)?;
        let libraries = build_preload(libtorch)?;
        let workers = build_workers(libtorch)?;
        let artifacts = folder().join("artifacts");
        fs_err::create_dir_all(folder())?;
        fs_err::write(&artifacts, libraries.join("\n"))?;
        let mut install = Command::new(&program);
        install.arg("install").arg("--artifacts").arg(&artifacts);
        install.arg("--libtorch").arg(libtorch.folder()).arg("--sources").arg(workspace::root());
        install.arg("--workers").arg(workers);
        if let Some(prefix) = self.prefix {
            install.arg("--prefix").arg(prefix);
        }
        process::run(&mut install)?;
        terminal::note("installed; Jupyter lists it as \"Rust (qrnn)\"");
        Ok(())
    }
}

fn build_kernel(libtorch: Libtorch) -> Result<PathBuf> {
    let start = Instant::now();
    terminal::note("building the kernel (minutes the first time: it contains rust-analyzer)");
    let args = ["--profile", "kernel", "--package", PROGRAM];
    let program = cargo::program(cargo::build(libtorch, "build", args)?, PROGRAM)?;
    terminal::note(format_args!("  {:.0} s: {}", start.elapsed().as_secs_f64(), program.display()));
    Ok(program)
}

/// The program that notebooks run as worker processes.
fn build_workers(libtorch: Libtorch) -> Result<PathBuf> {
    let args = ["--release", "--package", "qrnn", "--bin", "reproduce"];
    cargo::program(cargo::build(libtorch, "build", args)?, "reproduce")
}

/// The libraries that cells link.
fn build_preload(libtorch: Libtorch) -> Result<Vec<String>> {
    let start = Instant::now();
    terminal::note("building the library that notebooks preload: qrnn, tch and their dependencies");
    let args = ["--release", "--package", "qrnn-preload", "--lib", "--"].map(str::to_owned);
    let args = args.into_iter().chain(link_arguments(&libtorch.folder())?);
    let artifacts = cargo::build(libtorch, "rustc", args)?;
    let files = artifacts.into_iter().flat_map(|artifact| artifact.filenames);
    let libraries = files.filter(|path| matches!(path.extension(), Some("rlib" | "so")));
    let libraries: Vec<String> = libraries.map(|path| path.into_string()).collect();
    let seconds = start.elapsed().as_secs_f64();
    terminal::note(format_args!("  {seconds:.0} s: {} libraries", libraries.len()));
    Ok(libraries)
}

/// Links Rust's standard library dynamically, with an rpath to it and to libtorch.
fn link_arguments(libtorch: &Path) -> Result<[String; 6]> {
    let exports = workspace::root().join("crates/qrnn-jupyter/preload/exports.map");
    let standard = process::output(Command::new("rustc").args(["--print", "target-libdir"]))?;
    Ok([
        "-Cprefer-dynamic".to_owned(),
        "-Cstrip=debuginfo".to_owned(),
        format!("-Clink-arg=-Wl,--version-script={}", exports.display()),
        "-Clink-arg=-Wl,-soname,libqrnn_preload.so".to_owned(),
        format!("-Clink-arg=-Wl,-rpath,{}", libtorch.join("lib").display()),
        format!("-Clink-arg=-Wl,-rpath,{}", standard.trim()),
    ])
}

/// Where the commands of this room keep their files.
pub fn folder() -> PathBuf {
    workspace::root().join("target/jupyter")
}
