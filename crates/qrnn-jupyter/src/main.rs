//! A Jupyter kernel for Rust notebooks, with `qrnn` and `tch` preloaded.
//!
//! One program plays five parts: the kernel, the child process that runs the cells, the rustc
//! wrapper, the rust-analyzer process, and the guard that cleans up after the kernel.

mod cells;
mod child;
mod env_vars;
mod error;
mod evcxr_backend;
mod frontend;
mod install;
mod json_file;
mod notebook;
mod protocol;
mod rust_analyzer;
mod rustc;
mod terminal;
mod toolchain;

#[path = "../../qrnn-ops/src/libtorch/search_path.rs"]
mod torch_search_path;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::child::{runtime, workdir};
use crate::error::{Error, Result};
use crate::frontend::kernel;
use crate::install::doctor;
use crate::install::kernelspec::{self, InstallDirs};
use crate::rust_analyzer::{project_cache, server, wire};
use crate::rustc::wrapper;
use crate::toolchain::environment;
use crate::toolchain::preload::Preload;

/// A Jupyter kernel for Rust notebooks with qrnn and tch preloaded. `cargo xtask kernel` installs it.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run as a kernel; Jupyter calls this
    Run { connection_file: PathBuf },
    /// Install what `cargo xtask kernel` has built
    Install {
        /// Install below DIR/share instead of the user's data folder
        #[arg(long, value_name = "DIR")]
        prefix: Option<PathBuf>,
        /// A file with the paths of the built libraries, one a line
        #[arg(long, value_name = "FILE")]
        artifacts: PathBuf,
        /// The libtorch that they were built against
        #[arg(long, value_name = "DIR")]
        libtorch: PathBuf,
        /// The clone of qrnn that they were built from
        #[arg(long, value_name = "DIR")]
        sources: PathBuf,
        /// The program `reproduce`, which notebooks run as worker processes
        #[arg(long, value_name = "FILE")]
        workers: PathBuf,
    },
    /// Remove the kernel
    Uninstall {
        /// The prefix of the installation [default: that of this program]
        #[arg(long, value_name = "DIR")]
        prefix: Option<PathBuf>,
    },
    /// Check the installation, and say how to repair it
    Doctor {
        /// The prefix of the installation [default: that of this program]
        #[arg(long, value_name = "DIR")]
        prefix: Option<PathBuf>,
    },
    /// Complete and inspect code for a kernel
    #[command(hide = true, name = wire::SUBCOMMAND)]
    RustAnalyzer { folder: PathBuf },
    /// Clean up after a kernel
    #[command(hide = true, name = workdir::GUARD)]
    Guard { folder: PathBuf },
}

fn main() -> ExitCode {
    // evcxr and cargo start this program without a subcommand.
    if std::env::var_os("EVCXR_IS_RUNTIME").is_some() {
        return runtime::run();
    }
    let is_guard = std::env::args_os().nth(1).is_some_and(|arg| arg == workdir::GUARD);
    if std::env::var_os(env_vars::WRAPPER).is_some() && !is_guard {
        return wrapper::run();
    }
    run(Cli::parse().command).unwrap_or_else(|error| {
        terminal::log(format_args!("error: {error}"));
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { connection_file } => kernel::run(&connection_file),
        Command::Install { prefix, artifacts, libtorch, sources, workers } => {
            let list =
                std::fs::read_to_string(&artifacts).map_err(Error::io(&artifacts, "read"))?;
            let list: Vec<PathBuf> = list.lines().map(PathBuf::from).collect();
            let dirs = InstallDirs::of(prefix.as_deref())?;
            kernelspec::install(&dirs, &list, &workers, (&libtorch, &sources))?;
            let preload = Preload::in_folder(dirs.home.join("preload"));
            environment::use_toolchain(&preload);
            project_cache::store(&preload)?;
            terminal::print(format_args!("kernelspec {}", dirs.kernelspec.display()));
            let home = dirs.home.display();
            terminal::print(format_args!("program and preloaded libraries {home}"));
            Ok(ExitCode::SUCCESS)
        }
        Command::Uninstall { prefix } => {
            let removed = kernelspec::uninstall(&InstallDirs::of_this_program(prefix.as_deref())?)?;
            for folder in &removed {
                terminal::print(format_args!("removed {}", folder.display()));
            }
            if removed.is_empty() {
                terminal::print("nothing was installed there");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor { prefix } => {
            Ok(doctor::run(&InstallDirs::of_this_program(prefix.as_deref())?))
        }
        Command::RustAnalyzer { folder } => Ok(server::run(&folder)),
        Command::Guard { folder } => Ok(workdir::guard(&folder)),
    }
}
