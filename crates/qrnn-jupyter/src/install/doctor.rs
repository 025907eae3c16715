//! What the kernel needs of this machine: found or not, and how to mend it.

use std::path::Path;
use std::process::{Command, ExitCode};

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

use crate::install::kernelspec::Places;
use crate::terminal;
use crate::toolchain::environment;
use crate::toolchain::preload::{self, Preload};

/// A finding.
#[derive(Debug, PartialEq)]
enum Found {
    Good(String),
    /// Works, and something would be better.
    Note(String, String),
    Bad(String, String),
}

/// Prints each finding; fails where something is missing that cells need.
pub fn run(places: &Places) -> ExitCode {
    // As the kernel does: cells are compiled by the toolchain that it was built with.
    if let Ok(preload) = Preload::find(&places.program()) {
        environment::use_toolchain(&preload);
    }
    let findings = [
        ("rustc", rust()),
        ("cargo", program("cargo", "install Rust: https://rustup.rs")),
        ("linker", program("cc", "install a C compiler: apt install gcc")),
        ("kernel", installed(places)),
        ("preloaded", preloaded(places)),
        ("libtorch", libtorch(places)),
        ("CUDA", cuda()),
        ("Jupyter", jupyter()),
        ("rust-src", sources()),
    ];
    let mut healthy = true;
    for (name, found) in findings {
        match found {
            Found::Good(what) => terminal::show(format_args!("good  {name}: {what}")),
            Found::Note(what, remedy) => {
                terminal::show(format_args!("note  {name}: {what}\n      {remedy}"))
            }
            Found::Bad(what, remedy) => {
                healthy = false;
                terminal::show(format_args!("BAD   {name}: {what}\n      to mend it: {remedy}"));
            }
        }
    }
    if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn first_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().next().unwrap_or_default().to_owned()
}

fn program(name: &str, remedy: &str) -> Found {
    match Command::new(name).arg("--version").output() {
        Ok(output) if output.status.success() => Found::Good(first_line(&output.stdout)),
        Ok(output) => Found::Bad(first_line(&output.stderr), remedy.into()),
        Err(error) => Found::Bad(format!("{name} cannot be run: {error}"), remedy.into()),
    }
}

fn rust() -> Found {
    match preload::rustc() {
        Ok(version) => Found::Good(first_line(version.as_bytes())),
        Err(error) => Found::Bad("rustc does not work".into(), error.to_string()),
    }
}

fn installed(places: &Places) -> Found {
    let spec = places.spec.join("kernel.json");
    if !spec.is_file() {
        let what = format!("there is no {}", spec.display());
        return Found::Bad(what, "run `cargo xtask kernel` in the clone of qrnn".into());
    }
    let program = places.program();
    if !program.is_file() {
        let what = format!("the kernelspec names {}, which is missing", program.display());
        return Found::Bad(what, "run `cargo xtask kernel` again".into());
    }
    Found::Good(spec.display().to_string())
}

fn preloaded(places: &Places) -> Found {
    let checked = Preload::find(&places.program()).and_then(|preload| {
        preload.check()?;
        Ok(preload)
    });
    match checked {
        Ok(preload) => match loads(&preload.library()) {
            Ok(()) => Found::Good(preload.library().display().to_string()),
            Err(error) => Found::Bad(error, "run `cargo xtask kernel` again".into()),
        },
        Err(error) => Found::Bad(error.to_string(), "run `cargo xtask kernel` again".into()),
    }
}

fn loads(library: &Path) -> Result<(), String> {
    // SAFETY: our own library, or a driver's; their initialisers are meant to be run.
    unsafe { Library::open(Some(library), RTLD_LAZY | RTLD_LOCAL) }
        .map(drop)
        .map_err(|error| crate::child::runtime::reason(&error))
}

fn libtorch(places: &Places) -> Found {
    let again = "run `cargo xtask kernel` again".to_owned();
    let folder = match Preload::find(&places.program()).and_then(|preload| preload.libtorch()) {
        Ok(folder) => folder,
        Err(_) => return Found::Bad("not known: nothing is preloaded".into(), again),
    };
    let version = std::fs::read_to_string(folder.join("build-version")).unwrap_or_default();
    let library = folder.join("lib/libtorch_cpu.so");
    if library.is_file() {
        Found::Good(format!("{} in {}", version.trim(), folder.display()))
    } else {
        Found::Bad(format!("there is no {}", library.display()), again)
    }
}

fn cuda() -> Found {
    match loads(Path::new("libcuda.so.1")) {
        Ok(()) => {
            let query = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
            let said = Command::new("nvidia-smi").args(query).output();
            let card = said.map(|output| first_line(&output.stdout)).unwrap_or_default();
            Found::Good(if card.is_empty() { "a driver is there".into() } else { card })
        }
        Err(_) => Found::Note(
            "no driver (libcuda.so.1); cells compute on the CPU".into(),
            "a GPU of NVIDIA's needs its driver".into(),
        ),
    }
}

fn jupyter() -> Found {
    match program("jupyter", "pip install jupyterlab") {
        // Kernels are started by whatever Jupyter the user has, which need not be on this PATH.
        Found::Bad(what, remedy) => Found::Note(what, remedy),
        found => found,
    }
}

/// One completion by rust-analyzer says more than a folder that is there.
fn sources() -> Found {
    if !environment::has_sources() {
        return Found::Note(
            "missing; completion and inspection do not know the standard library".into(),
            "rustup component add rust-src".into(),
        );
    }
    let tried = std::env::current_exe()
        .map_err(|error| error.to_string())
        .and_then(|program| crate::rust_analyzer::trial(&program));
    match tried {
        Ok(None) => Found::Note(
            "it is there, but there was no completion within 30 s".into(),
            "if this machine is not busy, report it".into(),
        ),
        Ok(Some(time)) => Found::Good(format!(
            "completion knows the standard library (the first answer took {:.1} s)",
            time.as_secs_f64()
        )),
        Err(problem) => Found::Bad(
            format!("it is there, but completion does not know the standard library: {problem}"),
            "rustup component remove rust-src, then rustup component add rust-src; if that does not \
             help, cargo xtask kernel"
                .into(),
        ),
    }
}
