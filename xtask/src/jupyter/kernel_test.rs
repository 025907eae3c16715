//! Tests the Jupyter kernel: `cargo xtask kernel-test`.

use std::ffi::OsString;

use crate::error::Result;
use crate::jupyter::kernel::{self, Kernel};
use crate::jupyter::venv::Venv;
use crate::{cargo, process, setup, workspace};

/// Test the Jupyter kernel with a real client; ARGS go to Python's unittest
#[derive(Debug, clap::Args)]
pub struct KernelTest {
    #[arg(last = true)]
    args: Vec<OsString>,
}

impl KernelTest {
    /// The Rust tests first, then the client's tests of the installed kernel.
    pub fn run(self) -> Result<()> {
        cargo::run(setup::run()?, ["test", "--profile", "kernel", "--package", "qrnn-jupyter"])?;
        let prefix = kernel::folder().join("prefix");
        Kernel { prefix: Some(prefix.clone()), stock: false }.run()?;
        let venv = Venv::kept(&kernel::folder().join("venv"), kernel::CLIENT_REQUIREMENTS)?;
        let mut unittest = venv.python();
        unittest.args(["-m", "unittest"]);
        if self.args.is_empty() {
            unittest.args(["discover", "--verbose"]);
        }
        unittest
            .args(self.args)
            .current_dir(workspace::root().join("crates/qrnn-jupyter/tests"))
            .env("JUPYTER_PATH", prefix.join("share/jupyter"))
            .env("OMP_NUM_THREADS", "1");
        process::run(&mut unittest)
    }
}
