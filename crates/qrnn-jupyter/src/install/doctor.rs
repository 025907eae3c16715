//! `qrnn-jupyter doctor`: checks what the kernel needs, and says how to repair it.

use std::path::Path;
use std::process::{Command, ExitCode};

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

use crate::child::runtime::load_error;
use crate::install::kernelspec::InstallDirs;
use crate::rust_analyzer::self_test;
use crate::terminal;
use crate::toolchain::preload::Preload;
use crate::toolchain::{environment, rust_src, rustc};

const AGAIN: &str = "run `cargo xtask kernel` again";

/// The result of a check, and what to do about it.
#[derive(Debug, PartialEq)]
enum Finding {
    Good(String),
    /// Cells work without it.
    Note(String, String),
    Bad(String, String),
}

/// Prints every finding; fails if cells cannot run.
pub fn run(dirs: &InstallDirs) -> ExitCode {
    let preload = Preload::find(&dirs.program());
    if let Ok(preload) = &preload {
        environment::use_toolchain(preload);
    }
    let findings = [
        ("rustc", rust()),
        ("cargo", program("cargo", "install Rust: https://rustup.rs")),
        ("linker", program("cc", "install a C compiler: apt install gcc")),
        ("kernel", installed(dirs)),
        ("preloaded", preloaded(&preload)),
        ("libtorch", libtorch(&preload)),
        ("CUDA", cuda()),
        ("Jupyter", jupyter()),
        ("rust-src", completion()),
    ];
    let mut healthy = true;
    for (name, finding) in findings {
        match finding {
            Finding::Good(what) => terminal::print(format_args!("good  {name}: {what}")),
            Finding::Note(what, remedy) => {
                terminal::print(format_args!("note  {name}: {what}\n      {remedy}"));
            }
            Finding::Bad(what, remedy) => {
                healthy = false;
                terminal::print(format_args!("BAD   {name}: {what}\n      to repair it: {remedy}"));
            }
        }
    }
    if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn first_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().next().unwrap_or_default().to_owned()
}

fn program(name: &str, remedy: &str) -> Finding {
    match Command::new(name).arg("--version").output() {
        Ok(output) if output.status.success() => Finding::Good(first_line(&output.stdout)),
        Ok(output) => Finding::Bad(first_line(&output.stderr), remedy.into()),
        Err(error) => Finding::Bad(format!("cannot run {name}: {error}"), remedy.into()),
    }
}

fn rust() -> Finding {
    match rustc::version() {
        Ok(version) => Finding::Good(first_line(version.as_bytes())),
        Err(error) => Finding::Bad("rustc does not work".into(), error.to_string()),
    }
}

fn installed(dirs: &InstallDirs) -> Finding {
    let spec = dirs.kernelspec.join("kernel.json");
    let program = dirs.program();
    if !spec.is_file() {
        let what = format!("{} does not exist", spec.display());
        Finding::Bad(what, "run `cargo xtask kernel` in the clone of qrnn".into())
    } else if !program.is_file() {
        let what = format!("the kernelspec names {}, which does not exist", program.display());
        Finding::Bad(what, AGAIN.into())
    } else {
        Finding::Good(spec.display().to_string())
    }
}

fn preloaded(preload: &crate::error::Result<Preload>) -> Finding {
    let checked = preload.as_ref().map_err(ToString::to_string).and_then(|preload| {
        preload.check().map_err(|error| error.to_string())?;
        load(&preload.library())?;
        Ok(preload.library().display().to_string())
    });
    checked.map_or_else(|problem| Finding::Bad(problem, AGAIN.into()), Finding::Good)
}

fn load(library: &Path) -> Result<(), String> {
    // SAFETY: our own library or the CUDA driver; running their initializers is intended.
    let loaded = unsafe { Library::open(Some(library), RTLD_LAZY | RTLD_LOCAL) };
    loaded.map(drop).map_err(|error| load_error(&error))
}

fn libtorch(preload: &crate::error::Result<Preload>) -> Finding {
    let Some(folder) = preload.as_ref().ok().and_then(|preload| preload.libtorch().ok()) else {
        return Finding::Bad("unknown, because there is no preloaded library".into(), AGAIN.into());
    };
    let version = std::fs::read_to_string(folder.join("build-version")).unwrap_or_default();
    let library = folder.join("lib/libtorch_cpu.so");
    if library.is_file() {
        Finding::Good(format!("{} in {}", version.trim(), folder.display()))
    } else {
        Finding::Bad(format!("{} does not exist", library.display()), AGAIN.into())
    }
}

fn cuda() -> Finding {
    if load(Path::new("libcuda.so.1")).is_err() {
        return Finding::Note(
            "no driver (libcuda.so.1); cells compute on the CPU".into(),
            "to use an NVIDIA GPU, install its driver".into(),
        );
    }
    let query = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
    let output = Command::new("nvidia-smi").args(query).output();
    let gpu = output.map(|output| first_line(&output.stdout)).unwrap_or_default();
    Finding::Good(if gpu.is_empty() { "a driver is installed".into() } else { gpu })
}

fn jupyter() -> Finding {
    match program("jupyter", "pip install jupyterlab") {
        // The Jupyter that starts the kernel need not be on this PATH.
        Finding::Bad(what, remedy) => Finding::Note(what, remedy),
        finding => finding,
    }
}

/// Tries a completion, which needs rust-src.
fn completion() -> Finding {
    if !rust_src::is_installed() {
        return Finding::Note(
            "missing; completion and inspection do not know the standard library".into(),
            "rustup component add rust-src".into(),
        );
    }
    let tested = std::env::current_exe()
        .map_err(|error| error.to_string())
        .and_then(|program| self_test::run(&program));
    match tested {
        Ok(None) => Finding::Note(
            "it is installed, but a completion took longer than 30 s".into(),
            "if this machine is not busy, report it".into(),
        ),
        Ok(Some(time)) => Finding::Good(format!(
            "completion knows the standard library (the first answer took {:.1} s)",
            time.as_secs_f64()
        )),
        Err(problem) => Finding::Bad(
            format!(
                "it is installed, but completion does not know the standard library: {problem}"
            ),
            "rustup component remove rust-src, then rustup component add rust-src; if that does not \
             help, cargo xtask kernel"
                .into(),
        ),
    }
}
