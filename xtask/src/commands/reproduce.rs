//! `cargo xtask reproduce`

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::Result;
use crate::{cargo, setup};

/// Rebuild the paper's table; ARGS go to `reproduce` (see `cargo xtask reproduce --help`)
#[derive(Debug, clap::Args)]
pub struct Reproduce {
    #[arg(last = true)]
    args: Vec<OsString>,
}

impl Reproduce {
    pub fn run(self) -> Result<ExitCode> {
        cargo::run(setup::run()?, self.cargo_arguments())
    }

    pub fn cargo_arguments(self) -> Vec<OsString> {
        // Some write, as for `cargo run`, a `--` of their own.
        let own = usize::from(self.args.first().is_some_and(|first| first == "--"));
        let cargo = ["run", "--release", "--bin", "reproduce", "--"].map(OsString::from);
        cargo.into_iter().chain(self.args.into_iter().skip(own)).collect()
    }
}
