//! Cargo, run after set-up.

use std::ffi::OsStr;
use std::process::{Command, ExitCode};

use crate::error::{Error, Result};
use crate::setup::{self, Libtorch};

/// Sets up, then runs `cargo` with these arguments and returns its status.
///
/// # Errors
/// Those of set-up, or where cargo cannot be run.
pub fn run(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<ExitCode> {
    let libtorch = setup::run()?;
    // The child hears Ctrl-C too and saves its work; here it must not end the wait for it.
    let heard = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, heard)
        .map_err(Error::io("SIGINT", "handle"))?;
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(&program);
    cargo.args(args).current_dir(setup::root());
    if libtorch == Libtorch::Ours {
        // Cargo sets it again from .cargo/config.toml, to the value that it has for plain commands
        // too: any other would have torch-sys built anew.
        cargo.env_remove("LIBTORCH");
    }
    let status = cargo.status().map_err(Error::io(&program, "run"))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
