//! `cargo xtask test`

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::Result;
use crate::{cargo, setup};

/// Run all tests but the Jupyter kernel's (see kernel-test); ARGS go to `cargo test`
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
        // The kernel builds for minutes, in a profile of its own.
        let cargo = ["test", "--release", "--workspace", "--exclude", "qrnn-jupyter"];
        let cargo = cargo.map(OsString::from);
        cargo.into_iter().chain(self.args).collect()
    }
}
