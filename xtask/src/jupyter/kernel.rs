//! `cargo xtask kernel`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::Result;
use crate::jupyter::{install, stock_kernel};
use crate::setup;

/// Build and install the Jupyter kernel, and all that notebooks find loaded
#[derive(Debug, clap::Args)]
pub struct Kernel {
    /// Install under DIR/share instead of the user's data folder
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// In place of our kernel, enter the stock one, evcxr_jupyter, in Jupyter's list, told where
    /// libtorch is
    #[arg(long)]
    stock: bool,
}

impl Kernel {
    pub fn run(self) -> Result<ExitCode> {
        let libtorch = setup::run()?;
        if self.stock {
            stock_kernel::install(libtorch, self.prefix.as_deref())?;
            return Ok(ExitCode::SUCCESS);
        }
        install::install(libtorch, self.prefix.as_deref())
    }
}
