//! `cargo xtask setup`

use std::process::ExitCode;

use crate::error::Result;

/// Install the pinned libtorch, so that plain cargo commands work
#[derive(Debug, clap::Args)]
pub struct Setup {}

impl Setup {
    pub fn run(self) -> Result<ExitCode> {
        crate::setup::run().map(|_| ExitCode::SUCCESS)
    }
}
