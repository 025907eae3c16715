//! `cargo xtask check`

use std::process::ExitCode;

use crate::error::Result;
use crate::{cargo, setup};

/// What CI asks of a change: formatted, no warning, all tests pass
#[derive(Debug, clap::Args)]
pub struct Check {}

/// The cheapest first. Clippy in release as well, so that torch-sys is built once only.
const CHECKS: [&[&str]; 3] = [
    &["fmt", "--all", "--check"],
    &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"],
    &["test", "--release", "--workspace", "--exclude", "qrnn-jupyter"],
];

impl Check {
    pub fn run(self) -> Result<ExitCode> {
        let libtorch = setup::run()?;
        for args in CHECKS {
            let status = cargo::run(libtorch, args)?;
            if status != ExitCode::SUCCESS {
                return Ok(status);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
