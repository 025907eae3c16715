//! Tests the Jupyter kernel: `cargo xtask kernel-test`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::jupyter::kernel::{self, Kernel};
use crate::jupyter::venv::Venv;
use crate::{cargo, process, setup, workspace};

/// Test the Jupyter kernel with a real client; ARGS go to Python's unittest
#[derive(Debug, clap::Args)]
pub struct KernelTest {
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// Modules that assert how long something takes, and so run alone. The others run two at a time.
const TIMED: [&str; 3] = ["test_analysis", "test_environment", "test_lifecycle"];

impl KernelTest {
    /// The Rust tests first, then the client's tests of the installed kernel.
    pub fn run(self) -> Result<()> {
        cargo::run(setup::run()?, ["test", "--profile", "kernel", "--package", "qrnn-jupyter"])?;
        let prefix = kernel::folder().join("prefix");
        Kernel { prefix: Some(prefix.clone()), stock: false }.run()?;
        let venv = Venv::kept(&kernel::folder().join("venv"), kernel::CLIENT_REQUIREMENTS)?;
        let unittest = || {
            let mut unittest = venv.python();
            unittest.args(["-m", "unittest", "--verbose"]);
            unittest
                .current_dir(folder())
                .env("JUPYTER_PATH", prefix.join("share/jupyter"))
                .env("OMP_NUM_THREADS", "1");
            unittest
        };
        if !self.args.is_empty() {
            return process::run(unittest().args(self.args));
        }
        let (timed, others): (Vec<_>, Vec<_>) =
            modules().into_iter().partition(|module| TIMED.contains(&&**module));
        let run = |module: &String| process::run_and_show(unittest().arg(module));
        let mut failed = process::at_once(1, &timed, run)?;
        failed.extend(process::at_once(2, &others, run)?);
        if failed.is_empty() {
            return Ok(());
        }
        let failed: Vec<&str> = failed.into_iter().map(String::as_str).collect();
        Err(Error::failed(
            format!("these tests failed: {}", failed.join(", ")),
            "read what they say above",
        ))
    }
}

fn folder() -> PathBuf {
    workspace::root().join("crates/qrnn-jupyter/tests")
}

/// The names of the client's test modules, sorted.
fn modules() -> Vec<String> {
    let files = glob::glob(&folder().join("test_*.py").to_string_lossy()).into_iter().flatten();
    files.flatten().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_modules_are_found_and_those_that_run_alone_are_among_them() {
        let modules = modules();
        assert!(modules.len() >= 10, "{modules:?}");
        assert!(TIMED.iter().all(|timed| modules.iter().any(|module| module == timed)));
    }
}
