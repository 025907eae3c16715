//! The commands, a file each. A new one is a file here, a line in `Command` and one in `run`.

mod check;
mod cuda_dry_run;
mod kernel;
mod kernel_test;
mod layers;
mod notebooks;
mod on_a_card;
mod reproduce;
mod setup;
mod test;

use std::process::ExitCode;

use crate::error::Result;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Setup(setup::Setup),
    Reproduce(reproduce::Reproduce),
    Test(test::Test),
    Check(check::Check),
    Layers(layers::Layers),
    Notebooks(notebooks::Notebooks),
    Kernel(kernel::Kernel),
    KernelTest(kernel_test::KernelTest),
    CudaDryRun(cuda_dry_run::CudaDryRun),
    OnACard(on_a_card::OnACard),
}

impl Command {
    /// # Errors
    /// Those of set-up; where the work itself fails, the status says so.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Setup(command) => command.run(),
            Self::Reproduce(command) => command.run(),
            Self::Test(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Layers(command) => command.run(),
            Self::Notebooks(command) => command.run(),
            Self::Kernel(command) => command.run(),
            Self::KernelTest(command) => command.run(),
            Self::CudaDryRun(command) => command.run(),
            Self::OnACard(command) => command.run(),
        }
    }
}
