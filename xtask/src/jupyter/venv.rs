//! A virtual environment for the Python programs that the commands run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::{process, terminal};

pub struct Venv {
    folder: PathBuf,
}

impl Venv {
    /// Makes a new environment in `folder` with exactly these packages.
    pub fn fresh(folder: &Path, requirements: &str) -> Result<Self> {
        succeeds(
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder),
            "python3 cannot make a virtual environment",
            "install its venv module (Debian: apt-get install python3-venv)",
        )?;
        let list = folder.join("requirements.txt");
        fs_err::write(&list, requirements)?;
        let venv = Self { folder: folder.into() };
        // The list is complete, so pip need not resolve dependencies.
        let install = ["-m", "pip", "install", "--quiet", "--no-input", "--no-deps"];
        succeeds(
            venv.python().args(install).args(["--disable-pip-version-check", "-r"]).arg(&list),
            "pip cannot install the packages that run the Jupyter kernel",
            "read pip's output; the packages need Python 3.10 or later and a package index",
        )?;
        succeeds(
            venv.python().args(["-m", "pip", "check"]),
            "the packages that run the Jupyter kernel conflict",
            "report this",
        )?;
        Ok(venv)
    }

    /// Returns the environment in `folder` if it is complete and has these packages, else makes a new one.
    pub fn kept(folder: &Path, requirements: &str) -> Result<Self> {
        let done = folder.join("made");
        let python = folder.join("bin/python");
        if fs_err::read_to_string(&done).is_ok_and(|had| had == requirements) && python.exists() {
            return Ok(Self { folder: folder.into() });
        }
        terminal::note(format_args!("making a virtual environment: {}", folder.display()));
        let venv = Self::fresh(folder, requirements)?;
        fs_err::write(&done, requirements)?;
        Ok(venv)
    }

    pub fn python(&self) -> Command {
        Command::new(self.folder.join("bin/python"))
    }
}

fn succeeds(command: &mut Command, problem: &str, remedy: &str) -> Result<()> {
    match process::run(command.stdin(Stdio::null())) {
        Err(Error::Child(_)) => Err(Error::machine(problem, remedy)),
        result => result,
    }
}
