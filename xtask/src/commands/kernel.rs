//! `cargo xtask kernel`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::Result;
use crate::{jupyter, setup};

/// Build and install the Jupyter kernel, and all that notebooks find loaded
#[derive(Debug, clap::Args)]
pub struct Kernel {
    /// Install under DIR/share instead of the user's data folder
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

impl Kernel {
    pub fn run(self) -> Result<ExitCode> {
        jupyter::install(setup::run()?, self.prefix.as_deref())
    }
}
