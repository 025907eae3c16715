//! `cargo xtask test`

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::Result;
use crate::{cargo, setup};

/// Run all tests; ARGS go to `cargo test`
#[derive(Debug, clap::Args)]
pub struct Test {
    #[arg(last = true)]
    args: Vec<OsString>,
}

impl Test {
    pub fn run(self) -> Result<ExitCode> {
        cargo::run(setup::run()?, self.cargo_arguments())
    }

    pub fn cargo_arguments(self) -> Vec<OsString> {
        let cargo = ["test", "--release", "--workspace"].map(OsString::from);
        cargo.into_iter().chain(self.args).collect()
    }
}
