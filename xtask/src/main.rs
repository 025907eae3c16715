//! Set-up and chores: `cargo xtask help`.

mod cargo;
mod download;
mod error;
mod pins;
mod preflight;
mod setup;
mod stamp;
mod unpack;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up and chores of the qrnn workspace. Each command sets up first what it needs.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install the pinned libtorch, so that plain cargo commands work
    Setup,
    /// Rebuild the paper's table; ARGS go to `reproduce`
    Reproduce {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run all tests; ARGS go to `cargo test`
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// What CI asks of a change: formatted, no warning, all tests pass
    Check,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup => setup::run().map(|_| ExitCode::SUCCESS),
        Command::Reproduce { args } => cargo::run(
            ["run", "--release", "--bin", "reproduce", "--"]
                .map(OsString::from)
                .into_iter()
                .chain(args),
        ),
        Command::Test { args } => cargo::run(
            ["test", "--release", "--workspace"].map(OsString::from).into_iter().chain(args),
        ),
        Command::Check => check(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

/// The cheapest check first.
fn check() -> error::Result<ExitCode> {
    let checks: [&[&str]; 3] = [
        &["fmt", "--all", "--check"],
        &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &["test", "--release", "--workspace"],
    ];
    for args in checks {
        let status = cargo::run(args)?;
        if status != ExitCode::SUCCESS {
            return Ok(status);
        }
    }
    Ok(ExitCode::SUCCESS)
}
