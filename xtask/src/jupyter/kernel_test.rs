//! `cargo xtask kernel-test`

use std::ffi::OsString;
use std::process::ExitCode;

use crate::error::{Error, Result};
use crate::jupyter::install;
use crate::jupyter::venv::Venv;
use crate::{cargo, setup, workspace};

/// Test the Jupyter kernel with a real client; ARGS go to Python's unittest
#[derive(Debug, clap::Args)]
pub struct KernelTest {
    #[arg(last = true)]
    args: Vec<OsString>,
}

impl KernelTest {
    /// The parts that are plain Rust, then the installed kernel.
    pub fn run(self) -> Result<ExitCode> {
        let libtorch = setup::run()?;
        let unit = ["test", "--profile", "kernel", "--package", "qrnn-jupyter"];
        let status = cargo::run(libtorch, unit)?;
        if status != ExitCode::SUCCESS {
            return Ok(status);
        }
        let prefix = install::folder().join("prefix");
        let status = install::install(libtorch, Some(&prefix))?;
        if status != ExitCode::SUCCESS {
            return Ok(status);
        }
        let tests = workspace::root().join("crates/qrnn-jupyter/tests");
        let venv = Venv::kept(&install::folder().join("venv"), install::CLIENTS)?;
        let mut unittest = venv.python();
        unittest.args(["-m", "unittest"]);
        if self.args.is_empty() {
            unittest.args(["discover", "--verbose"]);
        }
        let status = unittest
            .args(self.args)
            .current_dir(&tests)
            .env("JUPYTER_PATH", prefix.join("share/jupyter"))
            .env("OMP_NUM_THREADS", "1")
            .status()
            .map_err(Error::io("python", "run"))?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
