//! Errors; each message ends with what to do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something on this machine, or a file of the repository, is missing or cannot be used.
    #[error("{what}\n  what to do: {remedy}")]
    Machine { what: String, remedy: String },
    /// A download does not have the pinned checksum, twice in a row.
    #[error(
        "{file} is not the pinned file\n  expected sha256 {expected}\n  actual sha256   {actual}\n  \
         what to do: check the package index that pip uses (pip config list): it serves another \
         file than PyPI, or damages it"
    )]
    Checksum { file: String, expected: String, actual: String },
    /// A wheel is not laid out as expected.
    #[error("{}: {problem}\n  what to do: run the command again; if it fails again, report this", path.display())]
    Wheel { path: PathBuf, problem: String },
    /// A file that a command writes is out of date.
    #[error("{} is stale\n  what to do: cargo xtask {command}, and commit what it wrote", path.display())]
    Stale { path: PathBuf, command: String },
    /// The error names the file (fs-err).
    #[error("{0}\n  what to do: check that there is space and that you may write there")]
    File(#[from] std::io::Error),
    #[error("{}: cannot {action}: {source}\n  what to do: check that there is space and that you may write there", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn machine(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Machine { what: what.into(), remedy: remedy.into() }
    }

    /// `.map_err(Error::io(path, "read"))`
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    /// 2 where something must be corrected first, 1 where the work failed.
    pub fn status(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Self::Machine { .. } | Self::File(_) | Self::Io { .. }) {
            2
        } else {
            1
        })
    }
}
