//! A Jupyter kernel for Rust notebooks with `qrnn` and `tch` at hand.

#[path = "../../../src/libtorch/brought.rs"]
mod brought;
mod cells;
mod child;
mod error;
mod evcxr_backend;
mod frontend;
mod install;
mod log;
mod notebook;
mod protocol;
mod rust_analyzer;
mod rustc;
mod terminal;
mod toolchain;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::child::{runtime, workdir};
use crate::error::{Error, Result};
use crate::frontend::kernel;
use crate::install::kernelspec::Places;
use crate::install::{doctor, kernelspec};
use crate::rustc::wrapper;
use crate::toolchain::environment;
use crate::toolchain::preload::Preload;

/// A Jupyter kernel for Rust notebooks with qrnn and tch at hand. `cargo xtask kernel` installs it.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the kernel; Jupyter does this
    Run { connection_file: PathBuf },
    /// Install what `cargo xtask kernel` has built
    Install {
        /// Install under DIR/share instead of the user's data folder
        #[arg(long, value_name = "DIR")]
        prefix: Option<PathBuf>,
        /// A file that names the libraries that were built, a line each
        #[arg(long, value_name = "FILE")]
        artifacts: PathBuf,
        /// The libtorch that they were built against
        #[arg(long, value_name = "DIR")]
        libtorch: PathBuf,
        /// The clone of qrnn that they were built from
        #[arg(long, value_name = "DIR")]
        sources: PathBuf,
    },
    /// Remove the kernel
    Uninstall {
        /// The prefix that it was installed under [default: this program's own]
        #[arg(long, value_name = "DIR")]
        prefix: Option<PathBuf>,
    },
    /// Find what is wrong, and say how to mend it
    Doctor {
        /// The prefix that it was installed under [default: this program's own]
        #[arg(long, value_name = "DIR")]
        prefix: Option<PathBuf>,
    },
    /// Answer a kernel's questions about Rust code
    #[command(hide = true, name = rust_analyzer::ROLE)]
    Analysis { folder: PathBuf },
    /// Clear up after a kernel
    #[command(hide = true, name = workdir::GUARD)]
    Guard { folder: PathBuf },
}

fn main() -> ExitCode {
    // evcxr and cargo run this program for purposes of their own.
    if std::env::var_os("EVCXR_IS_RUNTIME").is_some() {
        return runtime::run();
    }
    let guard = std::env::args_os().nth(1).is_some_and(|arg| arg == workdir::GUARD);
    if std::env::var_os(wrapper::ROLE).is_some() && !guard {
        return wrapper::run();
    }
    run(Cli::parse().command).unwrap_or_else(|error| {
        log::line(&format!("error: {error}"));
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { connection_file } => kernel::run(&connection_file),
        Command::Install { prefix, artifacts, libtorch, sources } => {
            let list =
                std::fs::read_to_string(&artifacts).map_err(Error::io(&artifacts, "read"))?;
            let list: Vec<PathBuf> = list.lines().map(PathBuf::from).collect();
            let places = Places::of(prefix.as_deref())?;
            kernelspec::install(&places, &list, &libtorch, &sources)?;
            let preload = Preload::in_folder(places.home.join("preload"));
            environment::use_toolchain(&preload);
            rust_analyzer::keep(&preload)?;
            terminal::show(format_args!("kernelspec {}", places.spec.display()));
            terminal::show(format_args!(
                "program and preloaded libraries {}",
                places.home.display()
            ));
            Ok(ExitCode::SUCCESS)
        }
        Command::Uninstall { prefix } => {
            let removed = kernelspec::uninstall(&Places::of_this_program(prefix.as_deref())?)?;
            for folder in &removed {
                terminal::show(format_args!("removed {}", folder.display()));
            }
            if removed.is_empty() {
                terminal::show("nothing was installed there");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor { prefix } => Ok(doctor::run(&Places::of_this_program(prefix.as_deref())?)),
        Command::Analysis { folder } => Ok(rust_analyzer::run(&folder)),
        Command::Guard { folder } => Ok(workdir::guard(&folder)),
    }
}
