//! `cargo xtask setup`

use std::process::ExitCode;

use crate::error::Result;
use crate::setup;

/// Install the pinned libtorch, so that plain cargo commands work
#[derive(Debug, clap::Args)]
pub struct Setup {
    /// Bring libtorch's CUDA part as well, for --device cuda (2.5 GB to download, 3 GB on disk)
    #[arg(long)]
    cuda: bool,
}

impl Setup {
    pub fn run(self) -> Result<ExitCode> {
        let done = if self.cuda { setup::run_with_cuda() } else { setup::run() };
        done.map(|_| ExitCode::SUCCESS)
    }
}
