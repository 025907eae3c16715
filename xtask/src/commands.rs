//! The commands, a file each. A new one is a file here, a line in `Command` and one in `run`.

mod check;
mod reproduce;
mod setup;
mod test;

use std::process::ExitCode;

use crate::error::Result;
use crate::jupyter::{kernel, kernel_test, notebooks};
use crate::release::{licenses, package};
use crate::{cuda_dry_run, docs, gpu_pack, layers};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Setup(setup::Setup),
    Reproduce(reproduce::Reproduce),
    Test(test::Test),
    Check(check::Check),
    Layers(layers::command::Layers),
    Docs(docs::Docs),
    Licenses(licenses::Licenses),
    Package(package::Package),
    Notebooks(notebooks::Notebooks),
    Kernel(kernel::Kernel),
    KernelTest(kernel_test::KernelTest),
    CudaDryRun(cuda_dry_run::command::CudaDryRun),
    GpuPack(gpu_pack::GpuPack),
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
            Self::Docs(command) => command.run(),
            Self::Licenses(command) => command.run(),
            Self::Package(command) => command.run(),
            Self::Notebooks(command) => command.run(),
            Self::Kernel(command) => command.run(),
            Self::KernelTest(command) => command.run(),
            Self::CudaDryRun(command) => command.run(),
            Self::GpuPack(command) => command.run(),
        }
    }
}
