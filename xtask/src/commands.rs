//! The commands. Those that only run cargo are here; each other one is in the room of its name.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::Result;
use crate::jupyter::{kernel, kernel_test, notebooks};
use crate::release::{licenses, package};
use crate::{cargo, cuda_dry_run, docs, gpu_pack, layers, process, setup, terminal, workspace};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Install the pinned libtorch, so that plain cargo commands work
    Setup {
        /// Install libtorch's CUDA part as well, for --device cuda (2.5 GB to download, 3 GB on disk)
        #[arg(long)]
        cuda: bool,
    },
    /// Rebuild the paper's table; ARGS go to `reproduce` (see `cargo xtask reproduce --help`)
    Reproduce {
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Measure against PyTorch and the machine's limits; ARGS go to `qrnn-bench` (see
    /// `cargo xtask bench --help`)
    Bench {
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Run all tests except the Jupyter kernel's (see kernel-test); ARGS go to `cargo test`
    Test {
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Check a change as CI does: format, layers, licenses, tables, packages, warnings and tests
    Check,
    Layers(layers::command::Layers),
    Docs(docs::Docs),
    Licenses(licenses::Licenses),
    Package(package::Package),
    Kernel(kernel::Kernel),
    KernelTest(kernel_test::KernelTest),
    Notebooks(notebooks::Notebooks),
    CudaDryRun(cuda_dry_run::command::CudaDryRun),
    GpuPack(gpu_pack::GpuPack),
}

impl Command {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Setup { cuda: true } => setup::run_with_cuda().map(drop),
            Self::Setup { cuda: false } => setup::run().map(drop),
            Self::Reproduce { args } => cargo::run(setup::run()?, reproduce(args)),
            Self::Bench { args } => cargo::run(setup::run()?, bench(args)),
            Self::Test { args } => test(args),
            Self::Check => check(),
            Self::Layers(command) => command.run(),
            Self::Docs(command) => command.run(),
            Self::Licenses(command) => command.run(),
            Self::Package(command) => command.run(),
            Self::Kernel(command) => command.run(),
            Self::KernelTest(command) => command.run(),
            Self::Notebooks(command) => command.run(),
            Self::CudaDryRun(command) => command.run(),
            Self::GpuPack(command) => command.run(),
        }
    }
}

pub fn reproduce(args: Vec<OsString>) -> Vec<OsString> {
    joined(&["run", "--release", "--bin", "reproduce", "--"], without_separator(args))
}

pub fn bench(args: Vec<OsString>) -> Vec<OsString> {
    joined(&["run", "--release", "--package", "qrnn-bench", "--"], without_separator(args))
}

/// The kernel's tests are left out: it builds for minutes, in its own profile. xtask's run unoptimized, as
/// xtask itself: with its features, the optimized build would compile the library a second time.
pub fn tests(args: Vec<OsString>) -> [Vec<OsString>; 2] {
    let optimized =
        ["test", "--release", "--workspace", "--exclude", "qrnn-jupyter", "--exclude", "xtask"];
    [joined(&optimized, args.clone()), joined(&["test", "--package", "xtask"], args)]
}

/// Where the tests of the real text look for it, instead of in ../shared/data.
const SHARED_DATA: &str = "QRNN_SHARED_DATA";

fn test(args: Vec<OsString>) -> Result<()> {
    let libtorch = setup::run()?;
    let all = args.is_empty();
    tests(args).into_iter().try_for_each(|tests| cargo::run(libtorch, tests))?;
    if !all {
        return Ok(());
    }
    let shared = std::env::var_os(SHARED_DATA)
        .map_or_else(|| workspace::root().join("../shared/data"), PathBuf::from);
    if shared.is_dir() {
        terminal::note(format_args!("testing with the texts in {}", shared.display()));
        let targets = ["test", "--release", "--lib", "--test", "behaviour"];
        cargo::run(libtorch, [&targets[..], &["--", "--ignored", "of_the_real_text"]].concat())?;
        if std::env::var_os("QRNN_PYARROW").is_some() {
            let with_pyarrow = ["test", "--release", "--lib", "--", "--ignored", "with_pyarrow"];
            cargo::run(libtorch, with_pyarrow)?;
        } else {
            terminal::note(
                "not run: the test of Parquet files; set QRNN_PYARROW to a Python with pyarrow",
            );
        }
    } else {
        terminal::note(format_args!(
            "not run: the tests of the real text; {SHARED_DATA} names its folder"
        ));
    }
    if process::is_installed("parallel") {
        let script =
            ["test", "--release", "--test", "behaviour", "gnu_parallel", "--", "--ignored"];
        cargo::run(libtorch, script)?;
    } else {
        terminal::note(
            "not run: the test of docs/experiments/parallel.sh, which needs GNU parallel",
        );
    }
    if std::env::var_os("QRNN_PYTHON").is_none() {
        terminal::note(
            "not run: tests named with_torch; set QRNN_PYTHON to a Python with torch 2.11",
        );
        return Ok(());
    }
    let with_torch =
        ["test", "--release", "--package", "qrnn-bench", "with_torch", "--", "--ignored"];
    cargo::run(libtorch, with_torch)
}

/// Arguments without the `--` that some write first, as for `cargo run`.
fn without_separator(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.first().is_some_and(|first| first == "--") {
        args.remove(0);
    }
    args
}

fn joined(cargo: &[&str], args: Vec<OsString>) -> Vec<OsString> {
    cargo.iter().map(OsString::from).chain(args).collect()
}

/// The cheapest checks first. Clippy runs in release too, so that torch-sys is built once.
fn check() -> Result<()> {
    let libtorch = setup::run()?;
    cargo::run(libtorch, ["fmt", "--all", "--check"])?;
    layers::command::Layers::default().run()?;
    licenses::Licenses { check: true }.run()?;
    docs::Docs { check: true }.run()?;
    package::Package { list: true }.run()?;
    let clippy = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo::run(libtorch, clippy)?;
    test(vec![])
}
